"""DSSE envelopes: exact payload bytes and an Ed25519 signature over their pre-authentication encoding (PAE).

What a payload says lives in `statements`. The stored envelope bytes are what is verified; nothing is serialised again.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer, sign_verified

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_PAE_BYTES = 4096  # the most AWS KMS signs as a raw message


@dataclass(frozen=True)
class Signature:
    """Who signed (hex SHA-256 of the key's SubjectPublicKeyInfo) and the raw signature."""

    keyid: str
    sig: bytes

    @property
    def base64(self) -> str:
        """The signature as it stands in the envelope."""
        return base64.b64encode(self.sig).decode()


@dataclass(frozen=True)
class Envelope:
    """What an envelope holds, read but not verified."""

    payload: bytes
    signatures: tuple[Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def fits(payload: bytes) -> bool:
    """Return whether every signing back end can sign this payload."""
    return len(pae(PAYLOAD_TYPE, payload)) <= MAX_PAE_BYTES


def sign(payload: bytes, signer: Signer) -> bytes:
    """Return the envelope bytes to store: the payload with the signer's verified signature over its PAE.

    Raises:
        BadInput: the PAE is longer than `MAX_PAE_BYTES`.
        Unavailable: the signer gave no signature that verifies.
    """
    return signed(payload, signer)[0]


def signed(payload: bytes, signer: Signer) -> tuple[bytes, Signature]:
    """Return what `sign` does, and the signature in it.

    Raises:
        BadInput, Unavailable: as `sign`.
    """
    if not fits(payload):
        raise BadInput(
            f"A statement of {len(payload)} bytes is too long to sign ({MAX_PAE_BYTES} with its header); put big content in by digest."
        )
    signature = Signature(signer.public_key.keyid, sign_verified(signer, pae(PAYLOAD_TYPE, payload)))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": signature.keyid, "sig": signature.base64}],
    }
    return canonical_json.dumps(envelope), signature


def open_envelope(envelope: bytes, keys: Mapping[str, PublicKey]) -> bytes:
    """Return the exact payload bytes of an envelope whose every signature is by a known key and verifies.

    1. The envelope is strict JSON with exactly DSSE's fields, its type is in-toto's (`envelope`, `payload type`).
    2. It has a signature, no key signed twice, every key is in `keys` (`signature`).
    3. Each signature verifies over the PAE of the payload (`signature`).

    Args:
        envelope: the stored bytes.
        keys: keyid -> key; an entry stored under another key's id is refused.

    Raises:
        EvidenceBroken: `place` names the step.
    """
    parsed = parse(envelope)
    if not parsed.signatures:
        raise EvidenceBroken("signature", "the envelope is not signed.")
    if len({signature.keyid for signature in parsed.signatures}) != len(parsed.signatures):
        raise EvidenceBroken("signature", "the envelope names a key twice.")
    signed = pae(PAYLOAD_TYPE, parsed.payload)
    for signature in parsed.signatures:
        _known(signature.keyid, keys).verify(signed, signature.sig)
    return parsed.payload


def parse(envelope: bytes) -> Envelope:
    """Read an envelope strictly without verifying it; to believe its payload use `open_envelope`.

    Raises:
        EvidenceBroken: at `envelope` or `payload type`.
    """
    try:
        value = canonical_json.loads(envelope, what="The envelope")
    except BadInput as error:
        raise EvidenceBroken("envelope", str(error)) from error
    fields = _exactly(value, {"payload", "payloadType", "signatures"})
    if fields["payloadType"] != PAYLOAD_TYPE:
        raise EvidenceBroken("payload type", f"it must be {PAYLOAD_TYPE}.")
    if not isinstance(fields["signatures"], list):
        raise EvidenceBroken("envelope", "signatures must be a list.")
    return Envelope(_bytes(fields["payload"]), tuple(map(_signature, fields["signatures"])))


def _known(keyid: str, keys: Mapping[str, PublicKey]) -> PublicKey:
    key = keys.get(keyid)
    if key is None or key.keyid != keyid:
        raise EvidenceBroken("signature", f"it was made with the key {keyid[:64]!r}, which is not trusted here.")
    return key


def _signature(value: Any) -> Signature:
    fields = _exactly(value, {"keyid", "sig"})
    if not isinstance(fields["keyid"], str):
        raise EvidenceBroken("envelope", "keyid must be text.")
    return Signature(fields["keyid"], _bytes(fields["sig"]))


def _exactly(value: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise EvidenceBroken("envelope", f"it must be an object of exactly {', '.join(sorted(names))}.")
    return value


# Two spellings of the same bytes would let an envelope change without its signature noticing.
def _bytes(text: Any) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise EvidenceBroken("envelope", "payload and sig must be standard base64.")
    return data
