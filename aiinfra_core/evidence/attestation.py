"""From statement bytes to a signed attestation, and back to bytes that are believed."""

from collections.abc import Mapping

from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer


def attest(payload: bytes, signer: Signer) -> Attestation:
    """Sign statement bytes; the signature was verified before it is returned.

    Raises:
        Unavailable: the signer gave no signature that verifies.
    """
    claim = statement.parse(payload)
    envelope, signature = dsse.signed(payload, signer)
    return Attestation(
        digest=claim.digest,
        predicate_type=claim.predicate_type,
        subject_checksum=claim.subject.checksum,
        envelope=envelope,
        signer_id=signer.signer_id,
        signature=signature.base64,
    )


def expect(envelope: bytes, keys: Mapping[str, PublicKey], expected: bytes) -> None:
    """Check that an envelope is signed by a trusted key and says exactly what the record it belongs to says.

    Args:
        envelope: the stored bytes.
        keys: keyid -> key that may sign.
        expected: the statement the record must have, from `claims`.

    Raises:
        EvidenceBroken: `place` names the step.
    """
    payload = dsse.open_envelope(envelope, keys)
    if payload != expected:
        raise EvidenceBroken("statement", f"it is signed, but {_difference(payload, expected)}")


def _difference(payload: bytes, expected: bytes) -> str:
    signed, recorded = statement.parse(payload), statement.parse(expected)
    for name in ("subject", "predicate_type"):
        if getattr(signed, name) != getattr(recorded, name):
            return f"its {name} is not what the record says."
    fields = [name for name, value in recorded.predicate if getattr(signed.predicate, name, None) != value]
    return f"its {', '.join(fields) or 'bytes'} differ from the record."
