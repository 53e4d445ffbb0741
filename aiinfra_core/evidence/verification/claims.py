"""Steps 2, 3 and 4: the envelopes of an export, opened; who signed them, and whether they might."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Trust, TrustedKey
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle, dsse, statement
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.confirmation_predicates import Export
from aiinfra_core.evidence.predicates import EXPORT, PURPOSES, Predicate
from aiinfra_core.evidence.statement import Statement
from aiinfra_core.evidence.trust import listed, may_sign
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.signing import public_key

Shape = TypeVar("Shape", bound=Predicate)


@dataclass(frozen=True)
class Claim:
    """A statement in its envelope; `place` is its file. `signers` are the keys whose signatures verified (none before step 3)."""

    place: str
    envelope: bytes
    statement: Statement
    signers: tuple[TrustedKey, ...] = ()

    @property
    def digest(self) -> str:
        """The statement's digest, by which others refer to it."""
        return self.statement.digest

    def saying(self, shape: type[Shape]) -> Shape | None:
        """Return the predicate if it is of this shape."""
        predicate = self.statement.predicate
        return predicate if isinstance(predicate, shape) else None


def opened(files: Bundle, step: Step) -> list[Claim]:
    """Return every attestation and the export's statement, read but not verified (2)."""
    claims = []
    for place in sorted(files.files):
        if place == bundle.STATEMENT or place.startswith("attestations/"):
            with step.at(place):
                claims.append(_opened(place, files.files[place]))
    step.found = f"{len(claims)} envelopes are in-toto statements of known types"
    return claims


def signed(claims: list[Claim], trust: Trust, step: Step) -> list[Claim]:
    """Return the claims whose every signature verifies with a listed key (3)."""
    verified = []
    keys = {entry.keyid: public_key.parse(entry.public_key) for entry in trust.keys}
    for claim in claims:
        with step.at(claim.place):
            dsse.open_envelope(claim.envelope, keys)
            signers = tuple(listed(trust, signature.keyid) for signature in dsse.parse(claim.envelope).signatures)
            verified.append(Claim(claim.place, claim.envelope, claim.statement, signers))
    owners = sorted({signer.owner for claim in verified for signer in claim.signers})
    step.found = f"{len(verified)} signatures verify, by keys of {', '.join(owners) or 'nobody'}"
    return verified


def permitted(claims: list[Claim], moments: Mapping[str, tuple[datetime, int]], step: Step) -> list[Claim]:
    """Return the claims whose keys might sign them when the log took them in (4).

    Args:
        claims: signed ones.
        moments: digest -> when, and at which index, the log took the statement in.
        step: takes the problems down.
    """
    good = []
    for claim in claims:
        with step.at(claim.place):
            for signer in claim.signers:
                _check_permitted(claim, signer, moments.get(claim.digest))
            good.append(claim)
    step.found = f"each of {len(good)} keys had the purpose, environment and time for what it signed"
    return good


def _opened(place: str, data: bytes) -> Claim:
    payload = dsse.parse(data).payload
    if not dsse.fits(payload):
        raise EvidenceBroken("envelope", f"its PAE is longer than {dsse.MAX_PAE_BYTES} bytes.")
    claim = Claim(place, data, statement.parse(payload))
    # An attestation's bytes are in the log; those of this one are in nothing, and must be written in the one way.
    if place == bundle.STATEMENT and canonical_json.dumps(canonical_json.loads(data)) != data:
        raise EvidenceBroken("envelope", "it is not written as envelopes are.")
    is_export = claim.statement.predicate_type == EXPORT
    if is_export != (place == bundle.STATEMENT):
        raise EvidenceBroken("predicate type", f"{place} must hold {'the statement of the export' if not is_export else 'an attestation'}.")
    if not is_export and place != bundle.attestation_name(claim.digest):
        raise EvidenceBroken("statement", f"its digest is {claim.digest}, which is not its name.")
    return claim


# An export is in no log: its keys had to be good when it says it was made, and a compromised one never is.
def _check_permitted(claim: Claim, signer: TrustedKey, moment: tuple[datetime, int] | None) -> None:
    purpose = PURPOSES[claim.statement.predicate_type]
    export = claim.saying(Export)
    if export is not None:
        return may_sign(signer, purpose, at=datetime.fromisoformat(export.exported_at), index=None, environment=export.environment)
    if moment is None:
        raise EvidenceBroken("key", "no entry of the log took this in, so nothing tells when it was signed.")
    return may_sign(signer, purpose, at=moment[0], index=moment[1], environment=statement.environment_of(claim.statement))
