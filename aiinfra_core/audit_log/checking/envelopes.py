"""What the columns beside a signed envelope say, compared with the envelope itself; and whether its signature counts. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.kept_rows import differences
from aiinfra_core.evidence.predicates import PURPOSES
from aiinfra_core.evidence.trust import keys_for, listed, may_sign


def problems(row: Mapping[str, Any], envelope: bytes | None, trust: Trust, index: int | None, at: datetime | None) -> Iterator[str]:
    """Yield what is wrong with a row of `attestations`.

    Args:
        row: its columns.
        envelope: the stored bytes.
        trust: whose signatures count.
        index: of the log entry that took it in; None while that waits to be chained.
        at: when it did.
    """
    try:
        parsed = dsse.parse(envelope or b"")
        claim = statement.parse(parsed.payload)
        copied = {"digest": claim.digest, "predicate_type": claim.predicate_type, "subject_checksum": claim.subject.checksum}
        copied["signer_id"] = listed(trust, parsed.signatures[0].keyid).signer_id if parsed.signatures else ""
        if changed := [name for name, value in copied.items() if row[name] != value]:
            yield f"{', '.join(changed)} is not what its envelope says"
        purpose, moment = PURPOSES[claim.predicate_type], at or datetime.now(UTC)
        environment = statement.environment_of(claim)
        for signature in parsed.signatures:  # says why a listed key does not count for this, and what is to be done
            may_sign(listed(trust, signature.keyid), purpose, at=moment, index=index, environment=environment)
        dsse.open_envelope(envelope or b"", keys_for(trust, purpose, at=moment, index=index, environment=environment))
    except EvidenceBroken as error:
        yield f"its envelope does not verify: {error}"


def said_problems(row: Mapping[str, Any], envelope: bytes | None) -> Iterator[str]:
    """Yield what is wrong with a row that says the same as the envelope it names."""
    try:
        claim = statement.parse(dsse.parse(envelope or b"").payload)
    except EvidenceBroken:
        return  # said where the envelope stands
    if changed := differences(row, claim.predicate):
        yield f"{', '.join(changed)} is not what its envelope says"


def copy_problems(row: Mapping[str, Any], envelope: bytes | None, signer_id: str | None) -> Iterator[str]:
    """Yield what is wrong with `signature` and `signer_id` of a row that copies them from an envelope, if it names one."""
    try:
        signatures = dsse.parse(envelope).signatures if envelope is not None else ()
    except EvidenceBroken:
        return  # said where the envelope stands
    copied = {"signature": signatures[0].base64 if signatures else None, "signer_id": signer_id}
    if changed := [name for name, value in copied.items() if row[name] != value]:
        yield f"{', '.join(changed)} is not what its envelope says"
