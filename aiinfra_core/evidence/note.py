"""Signed notes (C2SP signed-note): a text and the Ed25519 signatures under it. What the text says lives in `checkpoint`."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer, sign_verified

MAX_NOTE_BYTES = 65536
MAX_SIGNATURES = 64
_ED25519 = b"\x01"
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_NAME = re.compile(r"[^\s+]+")
_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # half a surrogate pair has no UTF-8
_KEY_ID_BYTES = 4


@dataclass(frozen=True)
class Signature:
    """One signature line: the key's name, the 4-byte key id and the raw signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A note as it was read, not verified; `text` ends with a newline."""

    text: str
    signatures: tuple[Signature, ...]


def key_id(name: str, key: PublicKey) -> bytes:
    """Return the id of a key under a name: the first 4 bytes of SHA-256(name ‖ LF ‖ 0x01 ‖ key)."""
    return sha256(name.encode() + b"\n" + _ED25519 + key.raw).digest()[:_KEY_ID_BYTES]


def verifier_key(name: str, key: PublicKey) -> str:
    """Return the key in the form other note tools take (`vkey`): NAME+HEX+BASE64."""
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(_ED25519 + key.raw).decode()}"


def sign(text: str, name: str, signer: Signer) -> bytes:
    """Return the text as a note with the signer's verified signature under this key name.

    Raises:
        BadInput: the text does not end with a newline, has control characters or is too long, or the name cannot name a key.
        Unavailable: the signer gave no signature that verifies.
    """
    if not text.endswith("\n") or not _is_plain(text):
        raise BadInput("A note's text must end with a newline and hold no other control character.")
    if not _NAME.fullmatch(name) or not _is_plain(name):
        raise BadInput(f"{name!r} cannot name a key: no spaces, no plus sign.")
    line = base64.b64encode(key_id(name, signer.public_key) + sign_verified(signer, text.encode())).decode()
    data = f"{text}\n— {name} {line}\n".encode()
    if len(data) > MAX_NOTE_BYTES:
        raise BadInput(f"A note of {len(data)} bytes is longer than {MAX_NOTE_BYTES}.")
    return data


def parse(data: bytes) -> Note:
    """Read a note; nothing is verified.

    Raises:
        EvidenceBroken: at `note`.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise EvidenceBroken("note", f"it is longer than {MAX_NOTE_BYTES} bytes.")
    try:
        text, separator, signatures = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise EvidenceBroken("note", "it is not UTF-8.") from None
    if not separator or not _is_plain(text + signatures) or not signatures.endswith("\n"):
        raise EvidenceBroken("note", "it must be a text, an empty line and signature lines, each ended by a newline.")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise EvidenceBroken("note", f"it has more than {MAX_SIGNATURES} signatures.")
    return Note(text + "\n", tuple(map(_signature, lines)))


def verify(note: Note, name: str, keys: Iterable[PublicKey]) -> PublicKey:
    """Check that one of these keys signed the note under this name, and return it; signatures of others are ignored.

    Raises:
        EvidenceBroken: at `note signature`; none of the keys signed, or a signature of one does not verify.
    """
    known = {key_id(name, key): key for key in keys}
    verified = None
    for signature in note.signatures:
        key = known.get(signature.key_id) if signature.name == name else None
        if key is not None:
            _verify_one(key, note.text.encode(), signature.signature)
            verified = key
    if verified is None:
        raise EvidenceBroken("note signature", f"no trusted key signed it as {name}.")
    return verified


def _verify_one(key: PublicKey, message: bytes, signature: bytes) -> None:
    try:
        key.verify(message, signature)
    except EvidenceBroken as error:
        raise EvidenceBroken("note signature", error.detail) from None


def _signature(line: str) -> Signature:
    match = _LINE.fullmatch(line)
    try:
        data = base64.b64decode(match[2], validate=True) if match else b""
    except (binascii.Error, ValueError):
        data = b""
    if not match or len(data) <= _KEY_ID_BYTES or base64.b64encode(data).decode() != match[2]:
        raise EvidenceBroken("note", "a signature line must be: — NAME BASE64.")
    return Signature(match[1], data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _is_plain(text: str) -> bool:
    return not _FORBIDDEN.search(text)
