"""Ed25519 public keys: reading, naming and verifying. No private key and no I/O lives here."""

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.errors import BadInput, EvidenceBroken

SIGNATURE_BYTES = 64
_RAW_BYTES = 32
_FIELD = 2**255 - 19
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK_Y = frozenset({0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y})


@dataclass(frozen=True)
class PublicKey:
    """32 raw bytes of an Ed25519 public key.

    Raises:
        BadInput: the length is wrong, or the key is one anybody can sign for (all zeros, for example).
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != _RAW_BYTES:
            raise BadInput(f"An Ed25519 public key has {_RAW_BYTES} bytes, not {len(self.raw)}.")
        # A point of small order verifies made-up signatures; a second spelling of a point would count as a second key.
        y = int.from_bytes(self.raw, "little") % 2**255
        if y >= _FIELD or y in _WEAK_Y:
            raise BadInput("This Ed25519 public key is a placeholder or weak: anybody can sign for it. Pin the signer's real key.")

    @cached_property
    def keyid(self) -> str:
        """Hex SHA-256 of the key's DER SubjectPublicKeyInfo."""
        return sha256_hex(self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @property
    def base64(self) -> str:
        """The raw key as base64, the form `parse` and the settings take."""
        return base64.b64encode(self.raw).decode()

    @property
    def pem(self) -> str:
        """The key as PEM, the form openssl takes."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a pure Ed25519 signature over a message.

        Raises:
            EvidenceBroken: at `signature`; it has the wrong length or was not made by this key over these bytes.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise EvidenceBroken("signature", f"it has {len(signature)} bytes where Ed25519 has {SIGNATURE_BYTES}.")
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise EvidenceBroken("signature", f"it does not verify with the key {self.keyid[:16]}….") from None

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)


def parse(text: str) -> PublicKey:
    """Read a public key from PEM, from base64 of its 32 raw bytes, or from base64 of its SubjectPublicKeyInfo.

    Raises:
        BadInput: it is none of these, or not Ed25519.
    """
    text = text.strip()
    if text.startswith("-----BEGIN"):
        return _from_spki(text.encode(), pem=True)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("The public key is neither PEM nor base64.") from None
    return PublicKey(data) if len(data) == _RAW_BYTES else _from_spki(data, pem=False)


def _from_spki(data: bytes, *, pem: bool) -> PublicKey:
    try:
        key = load_pem_public_key(data) if pem else load_der_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadInput("The public key is not readable; give PEM, or base64 of its 32 raw bytes.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput("The public key is not an Ed25519 key.")
    return PublicKey(key.public_bytes_raw())
