"""Checkpoints: the three signed lines, in one spelling, of the log that was asked for."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import checkpoint, note
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.signing import local

SIGNER = local.from_base64(base64.b64encode(b"\x05" * 32).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
LOG = "log.example/models"
ROOT = bytes(range(32))
GOOD = Checkpoint(LOG, 1234, ROOT)
SIGNED = checkpoint.sign(GOOD, SIGNER)
KEYS = [OTHER.public_key, SIGNER.public_key]
ROOT_LINE = base64.b64encode(ROOT).decode()


def signed(text: str, name: str = LOG) -> bytes:
    return note.sign(text, name, SIGNER)


def test_a_checkpoint_is_three_lines_an_empty_one_and_a_signature() -> None:
    signature = base64.b64encode(note.key_id(LOG, SIGNER.public_key) + SIGNER.sign(f"{LOG}\n1234\n{ROOT_LINE}\n".encode())).decode()
    assert f"{LOG}\n1234\n{ROOT_LINE}\n\n— {LOG} {signature}\n".encode() == SIGNED


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{2,40}", fullmatch=True), st.integers(0, 2**62), st.binary(min_size=32, max_size=32))
def test_what_was_signed_comes_out(origin: str, size: int, root: bytes) -> None:
    said = Checkpoint(origin, size, root)
    data = checkpoint.sign(said, SIGNER)
    assert checkpoint.open_checkpoint(data, origin, KEYS) == (said, SIGNER.public_key)
    assert checkpoint.parse(data) == said
    assert checkpoint.sign(said, SIGNER) == data


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_checkpoint_passes(place: int, change: int) -> None:
    bad = bytearray(SIGNED)
    bad[place] ^= change
    with pytest.raises(EvidenceBroken):
        checkpoint.open_checkpoint(bytes(bad), LOG, KEYS)


def test_lines_that_are_signed_below_the_root_are_allowed() -> None:
    data = signed(f"{LOG}\n1234\n{ROOT_LINE}\nan extension\nanother\n")
    assert checkpoint.open_checkpoint(data, LOG, KEYS)[0] == GOOD


WRONG = {
    "no root": f"{LOG}\n1234\n",
    "nothing": "\n",
    "an empty origin": f"\n1234\n{ROOT_LINE}\n",
    "an empty line below": f"{LOG}\n1234\n{ROOT_LINE}\n\n\nmore\n",
    "no size": f"{LOG}\n\n{ROOT_LINE}\n",
    "a leading zero": f"{LOG}\n01234\n{ROOT_LINE}\n",
    "a plus sign": f"{LOG}\n+1234\n{ROOT_LINE}\n",
    "a negative size": f"{LOG}\n-1\n{ROOT_LINE}\n",
    "a size in hex": f"{LOG}\n0x10\n{ROOT_LINE}\n",
    "digits of another script": f"{LOG}\n\u0661\u0662\n{ROOT_LINE}\n",
    "an underscore": f"{LOG}\n1_000\n{ROOT_LINE}\n",
    "a space behind the size": f"{LOG}\n1234 \n{ROOT_LINE}\n",
    "a size no log can have": f"{LOG}\n{10**20}\n{ROOT_LINE}\n",
    "a short root": f"{LOG}\n1234\n{base64.b64encode(ROOT[:31]).decode()}\n",
    "a long root": f"{LOG}\n1234\n{base64.b64encode(ROOT + b'!').decode()}\n",
    "a root in hex": f"{LOG}\n1234\n{ROOT.hex()}\n",
    "a root without padding": f"{LOG}\n1234\n{ROOT_LINE.rstrip('=')}\n",
    "a root with spare bits": f"{LOG}\n1234\n{ROOT_LINE.replace('8=', '9=')}\n",
    "a url-safe root": f"{LOG}\n1234\n{base64.urlsafe_b64encode(bytes([255]) * 32).decode()}\n",
    "a root that is not ASCII": f"{LOG}\n1234\n{'é' * 44}\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_checkpoint_is_refused_though_it_is_signed(text: str) -> None:
    with pytest.raises(EvidenceBroken, match=r"^checkpoint: "):
        checkpoint.open_checkpoint(signed(text), LOG, KEYS)
    with pytest.raises(EvidenceBroken, match=r"^checkpoint: "):
        checkpoint.parse(signed(text))


def test_a_checkpoint_of_another_log_is_refused_though_the_same_key_signed_it() -> None:
    other = "log.example/others"
    with pytest.raises(EvidenceBroken, match=f"^note signature: no trusted key signed it as {LOG}"):
        checkpoint.open_checkpoint(checkpoint.sign(Checkpoint(other, 1234, ROOT), SIGNER), LOG, KEYS)
    with pytest.raises(EvidenceBroken, match=f"^checkpoint: it is of the log '{other}'"):
        checkpoint.open_checkpoint(signed(f"{other}\n1234\n{ROOT_LINE}\n"), LOG, KEYS)


def test_a_checkpoint_signed_by_a_key_that_is_not_trusted_is_refused() -> None:
    with pytest.raises(EvidenceBroken, match="no trusted key"):
        checkpoint.open_checkpoint(SIGNED, LOG, [OTHER.public_key])
