"""Signed notes: what another implementation signed opens, what we sign is byte for byte its note, and nothing else passes."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.errors import BadInput, EvidenceBroken, Unavailable
from aiinfra_core.evidence import note
from aiinfra_core.signing import local
from aiinfra_core.signing.public_key import PublicKey

VECTOR = json.loads(Path("tests/vectors/signed_note.json").read_text())
AUTHOR = local.from_base64(VECTOR["seed"])
NAME = VECTOR["name"]
SIGNER = local.from_base64(base64.b64encode(b"\x05" * 32).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
LOG = "log.example/models"
NOTE = note.sign("one\ntwo\n", LOG, SIGNER)
SIGNATURE_LINE = NOTE.decode().rpartition("\n\n")[2]
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n"), max_size=60).map(lambda it: it + "\n")
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{2,30}", fullmatch=True)


def signed_by(*signers: tuple[str, local.LocalSigner], text: str = "one\ntwo\n") -> bytes:
    """Return one note with a signature line of each."""
    lines = [note.sign(text, name, signer).decode().rpartition("\n\n")[2] for name, signer in signers]
    return f"{text}\n{''.join(lines)}".encode()


def opened(data: bytes, *keys: PublicKey, name: str = LOG) -> PublicKey:
    return note.verify(note.parse(data), name, keys)


def test_a_note_is_byte_for_byte_the_one_of_the_published_example() -> None:
    assert note.verifier_key(NAME, AUTHOR.public_key) == VECTOR["verifier_key"]
    assert note.sign(VECTOR["text"], NAME, AUTHOR) == VECTOR["note"].encode()
    assert note.parse(VECTOR["note"].encode()).text == VECTOR["text"]
    assert opened(VECTOR["note"].encode(), AUTHOR.public_key, name=NAME) == AUTHOR.public_key


@given(texts, names)
def test_what_was_signed_comes_out(text: str, name: str) -> None:
    data = note.sign(text, name, SIGNER)
    assert note.parse(data).text == text
    assert opened(data, OTHER.public_key, SIGNER.public_key, name=name) == SIGNER.public_key
    assert note.sign(text, name, SIGNER) == data


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_note_passes(place: int, change: int) -> None:
    bad = bytearray(NOTE)
    bad[place] ^= change
    with pytest.raises(EvidenceBroken, match=r"^note"):
        opened(bytes(bad), SIGNER.public_key)


@given(st.integers(0, len(NOTE) - 1))
def test_no_note_that_was_cut_passes(length: int) -> None:
    with pytest.raises(EvidenceBroken, match=r"^note"):
        opened(NOTE[:length], SIGNER.public_key)


def test_signatures_of_unknown_signers_are_ignored_wherever_they_stand() -> None:
    witness = f"— witness.example {base64.b64encode(b'four' + bytes(72)).decode()}\n"
    data = NOTE.decode().replace(SIGNATURE_LINE, witness + SIGNATURE_LINE + witness).encode()
    assert opened(data, SIGNER.public_key) == SIGNER.public_key
    assert opened(signed_by((LOG, OTHER), (LOG, SIGNER), ("other.example", OTHER)), SIGNER.public_key) == SIGNER.public_key


def test_a_note_only_unknown_signers_signed_is_refused() -> None:
    for data in (signed_by((LOG, OTHER)), signed_by(("other.example", SIGNER))):
        with pytest.raises(EvidenceBroken, match=f"no trusted key signed it as {LOG}"):
            opened(data, SIGNER.public_key)
    with pytest.raises(EvidenceBroken, match="no trusted key"):
        opened(NOTE)


def test_a_bad_signature_of_a_known_key_refuses_a_note_another_known_key_signed_well() -> None:
    good, bad = SIGNATURE_LINE, note.sign("another text\n", LOG, OTHER).decode().rpartition("\n\n")[2]
    for lines in (good + bad, bad + good):
        data = f"one\ntwo\n\n{lines}".encode()
        assert opened(data, SIGNER.public_key) == SIGNER.public_key
        with pytest.raises(EvidenceBroken, match=r"^note signature: it does not verify"):
            opened(data, SIGNER.public_key, OTHER.public_key)


def line(name: str = LOG, data: bytes = bytes(68)) -> str:
    return f"— {name} {base64.b64encode(data).decode()}\n"


SPARE_BITS = base64.b64encode(bytes(67)).decode().replace("A==", "B==")  # other text, the same bytes


WRONG = {
    "empty": b"",
    "no signature": b"text\n",
    "no empty line": f"text\n{SIGNATURE_LINE}".encode(),
    "no newline at its end": NOTE[:-1],
    "another letter for the newline at its end": NOTE[:-1] + b"x",
    "empty line at its end": NOTE + b"\n",
    "line ends of Windows": NOTE.replace(b"\n", b"\r\n"),
    "a tab": NOTE.replace(b"one", b"o\tne"),
    "a zero byte": NOTE.replace(b"one", b"o\0ne"),
    "not UTF-8": NOTE.replace(b"one", b"o\xffne"),
    "half a surrogate pair": NOTE.replace(b"one", b"o\xed\xa0\x80ne"),
    "overlong UTF-8": NOTE.replace(b"one", b"o\xc0\xaene"),
    "a hyphen for the dash": NOTE.replace("—".encode(), b"-"),
    "a line that is no signature": NOTE + b"hello\n",
    "no name": NOTE.replace(LOG.encode() + b" ", b""),
    "a name with a plus sign": ("text\n\n" + line("a+b")).encode(),
    "a name with a space of another kind": ("text\n\n" + line("a\u2003b")).encode(),
    "two spaces": NOTE.replace(LOG.encode() + b" ", LOG.encode() + b"  "),
    "a space at the end": NOTE[:-1] + b" \n",
    "base64 without padding": ("text\n\n" + line(data=bytes(67)).replace("=", "")).encode(),
    "base64 with spare bits": f"text\n\n— {LOG} {SPARE_BITS}\n".encode(),
    "url-safe base64": ("text\n\n" + line(data=b"\xff" * 69).replace("/", "_", -1).replace(LOG.replace("/", "_"), LOG)).encode(),
    "a signature of no bytes": ("text\n\n" + line(data=bytes(4))).encode(),
    "too long": b"x" * note.MAX_NOTE_BYTES + NOTE,
    "too many signatures": NOTE + line("x").encode() * note.MAX_SIGNATURES,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^note: "):
        note.parse(data)


def test_a_note_may_have_as_many_signatures_as_is_said() -> None:
    assert len(note.parse(NOTE + line("x").encode() * (note.MAX_SIGNATURES - 1)).signatures) == note.MAX_SIGNATURES


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\r\n", "a\0\n", "\ud800\n", "x" * note.MAX_NOTE_BYTES + "\n"])
def test_a_text_that_cannot_be_read_back_is_not_signed(text: str) -> None:
    with pytest.raises(BadInput):
        note.sign(text, LOG, SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\0b", "\ud800"])
def test_a_name_that_cannot_be_read_back_is_not_signed_with(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a key"):
        note.sign("text\n", name, SIGNER)


def test_a_signature_that_does_not_verify_is_never_put_under_a_note() -> None:
    class Swapped(local.LocalSigner):
        def sign(self, message: bytes) -> bytes:
            return OTHER.sign(message)

    with pytest.raises(Unavailable, match="does not verify"):
        note.sign("text\n", LOG, Swapped(SIGNER._key))
