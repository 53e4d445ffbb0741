"""A signed statement as it is kept."""

from aiinfra_core.domain.record import Record, Sha256


class Attestation(Record):
    """One signed claim: `envelope` holds the exact bytes, `digest` is the hex SHA-256 of the signed payload in it."""

    digest: Sha256
    predicate_type: str
    subject_checksum: Sha256
    envelope: bytes
    signer_id: str
    signature: str
