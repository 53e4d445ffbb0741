"""A signer whose private key is in this process: from the environment or from a file. For development and tests."""

import base64
import binascii
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.errors import Misconfigured
from aiinfra_core.signing import secret_file
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import default_signer_id

_SEED_BYTES = 32
_WAY_OUT = "make one with: aiinfra keys generate"


class LocalSigner:
    """Signs with a private key in memory; its repr names the public key only."""

    parallel = 1

    def __init__(self, key: Ed25519PrivateKey, signer_id: str | None = None) -> None:
        self._key = key
        self.public_key = PublicKey(key.public_key().public_bytes_raw())
        self.signer_id = signer_id or default_signer_id(self.public_key)

    def __repr__(self) -> str:
        return f"LocalSigner(signer_id={self.signer_id!r}, keyid={self.public_key.keyid!r})"

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature over the message."""
        return self._key.sign(message)


def from_base64(key_b64: str, signer_id: str | None = None) -> LocalSigner:
    """Return a signer from base64 of a 32-byte seed, or of the 64-byte private key (the seed, then its public key).

    Raises:
        Misconfigured: anything else; the value is never in the message.
    """
    try:
        data = base64.b64decode(key_b64.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(f"The signer key is not base64; {_WAY_OUT}.") from None
    if len(data) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise Misconfigured(f"The signer key has {len(data)} bytes; it must be a seed of 32 or a private key of 64; {_WAY_OUT}.")
    key = Ed25519PrivateKey.from_private_bytes(data[:_SEED_BYTES])
    if len(data) > _SEED_BYTES and not hmac.compare_digest(data[_SEED_BYTES:], key.public_key().public_bytes_raw()):
        raise Misconfigured(f"The two halves of the 64-byte signer key do not belong together; {_WAY_OUT}.")
    return LocalSigner(key, signer_id)


def read_key_file(path: Path) -> str:
    """Return the base64 key held by a file of one line; lines that begin with `#` are comments.

    Raises:
        Misconfigured: the file is missing, not a plain file, readable by others, or holds not exactly one key line.
    """
    text = secret_file.read(path, "key file", _WAY_OUT)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1:
        raise Misconfigured(f"The key file {path} must hold exactly one line beside comments, but holds {len(lines)}.")
    return lines[0]


def generate() -> str:
    """Return base64 of a new 32-byte seed from the system's random source."""
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
