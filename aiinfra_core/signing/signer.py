"""What a signer is, and the one way to ask it: every signature is verified before it is used."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from aiinfra_core.errors import EvidenceBroken, Unavailable
from aiinfra_core.signing.public_key import PublicKey


class Signer(Protocol):
    """Something that holds one Ed25519 private key; ask it through `sign_verified`."""

    @property
    def signer_id(self) -> str:
        """The name written beside its signatures."""
        ...

    @property
    def public_key(self) -> PublicKey:
        """The pinned key its signatures must verify with."""
        ...

    @property
    def parallel(self) -> int:
        """How many signatures may be asked of it at once, from as many threads."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over the message, not yet verified."""
        ...


def sign_verified(signer: Signer, message: bytes) -> bytes:
    """Sign a message and return the signature only if it verifies with the signer's pinned key.

    Raises:
        Unavailable: `signer` did not answer, or what it answered does not verify.
    """
    signature = signer.sign(message)
    try:
        signer.public_key.verify(message, signature)
    except EvidenceBroken as error:
        raise Unavailable(
            "signer",
            f"The signature from {signer.signer_id} does not verify with the pinned key: {error.detail} Check that the signer holds"
            " this key and signs the message itself, not a hash of it.",
        ) from error
    return signature


def sign_many(signer: Signer, messages: Sequence[bytes]) -> list[bytes]:
    """Return the verified signature of each message, asking as many at once as the signer takes.

    Raises:
        Unavailable: as `sign_verified`; none is returned then.
    """
    if signer.parallel == 1 or len(messages) < 2:
        return [sign_verified(signer, message) for message in messages]
    with ThreadPoolExecutor(min(signer.parallel, len(messages)), thread_name_prefix="sign") as pool:
        return list(pool.map(partial(sign_verified, signer), messages))


def default_signer_id(public_key: PublicKey) -> str:
    """Return the name of a signer that was given none: `ed25519:` and the first 16 hex digits of its keyid."""
    return f"ed25519:{public_key.keyid[:16]}"
