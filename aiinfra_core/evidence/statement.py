"""The frame of every claim: in-toto Statement v1 in RFC 8785 bytes, written and read.

What each claim says lives in `statements` and `confirmations` (builders) and `predicates` (shapes), signing in `dsse`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence.confirmation_predicates import Approval, Withdrawal
from aiinfra_core.evidence.dsse import MAX_PAE_BYTES, fits
from aiinfra_core.evidence.predicates import SHAPES, Predicate, Promotion
from aiinfra_core.evidence.rollout_predicates import RolloutOrder, Routing

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True)
class Subject:
    """The artifact a statement is about; `checksum` is hex.

    Raises:
        BadInput: the name is empty or the checksum no SHA-256 in hex.
    """

    name: str
    digest_kind: DigestKind
    checksum: str

    def __post_init__(self) -> None:
        if not self.name or not re.fullmatch("[0-9a-f]{64}", self.checksum):
            raise BadInput("A statement's subject needs a name and a checksum of 64 lower-case hex digits.")


@dataclass(frozen=True)
class Statement:
    """A statement as it was read; `digest` is the hex SHA-256 of its payload bytes, by which others refer to it."""

    subject: Subject
    predicate_type: str
    predicate: Predicate
    digest: str


def write(subject: Subject, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """Return the RFC 8785 bytes of a statement.

    Raises:
        BadInput: the predicate has not the shape of its type.
    """
    try:
        SHAPES[predicate_type].model_validate(predicate)
    except ValidationError as error:
        raise BadInput(f"This cannot be stated: {_first_problem(error)}") from None
    return canonical_json.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": subject.name, "digest": {subject.digest_kind.value: subject.checksum}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def signable(payload: bytes) -> bytes:
    """Return the payload if every signing back end can sign it.

    Raises:
        BadInput: it is too long.
    """
    if not fits(payload):
        most = f"{MAX_PAE_BYTES} with the header is the most that can be signed"
        raise BadInput(f"The statement would have {len(payload)} bytes, and {most}; shorten its names and URIs.")
    return payload


def parse(payload: bytes) -> Statement:
    """Read the payload of an opened envelope; only the predicate types built here are believed.

    Raises:
        EvidenceBroken: at `statement` (its frame), `predicate type`, `subject` or `predicate`.
    """
    value = _object(payload)
    if value.get("_type") != STATEMENT_TYPE:
        raise EvidenceBroken("statement", f"its _type must be {STATEMENT_TYPE}.")
    predicate_type = value.get("predicateType")
    shape = SHAPES.get(predicate_type) if isinstance(predicate_type, str) else None
    if shape is None or not isinstance(predicate_type, str):
        raise EvidenceBroken("predicate type", f"{str(predicate_type)[:100]!r} is not one this product signs.")
    try:
        predicate = shape.model_validate(value.get("predicate"))
    except ValidationError as error:
        raise EvidenceBroken("predicate", _first_problem(error)) from None
    return Statement(_subject(value.get("subject")), predicate_type, predicate, digest(payload))


def environment_of(claim: Statement) -> str | None:
    """Return the environment that a promotion, an approval, a withdrawal, a routing or an order is about; others count in every one."""
    match claim.predicate:
        case Promotion(promotion=extension):
            return extension.environment
        case Approval() | Withdrawal() | Routing() | RolloutOrder():
            return claim.predicate.environment
    return None


def digest(payload: bytes) -> str:
    """Return a statement's digest, by which other statements and rows refer to it: hex SHA-256 of its payload bytes."""
    return sha256_hex(payload)


def timestamp(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC with microseconds and a `Z`.

    Raises:
        BadInput: the time has no zone.
    """
    if moment.tzinfo is None:
        raise BadInput("A time without a zone cannot be signed; use UTC.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _object(payload: bytes) -> dict[str, Any]:
    try:
        value = canonical_json.loads(payload, what="The statement")
    except BadInput as error:
        raise EvidenceBroken("statement", str(error)) from error
    if not isinstance(value, dict):
        raise EvidenceBroken("statement", "it must be a JSON object.")
    return value


def _subject(value: Any) -> Subject:
    match value:
        case [{"name": str(name), "digest": dict(digests)}]:
            known = [(kind, digests[kind.value]) for kind in DigestKind if isinstance(digests.get(kind.value), str)]
        case _:
            raise EvidenceBroken("subject", "it must be exactly one artifact with a name and a digest.")
    if len(known) != 1:
        raise EvidenceBroken("subject", "it must have either a sha256 or a dirHash.")
    try:
        return Subject(name, *known[0])
    except BadInput as error:
        raise EvidenceBroken("subject", str(error)) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the predicate'}: {first['msg']}."
