"""Proofs as text: round trips, one spelling, and nothing but the exact entry at its index under the exact checkpoint."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import checkpoint, log_proof
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.log_proof import LogProof
from aiinfra_core.signing import local
from tests.simulators.small_log import reader, tree_hash

SIGNER = local.from_base64(base64.b64encode(b"\x05" * 32).decode())
LOG = "log.example/models"
SIZE, INDEX = 21, 13
ENTRIES = [b'{"seq":%d}' % n for n in range(SIZE)]
HEAD = Checkpoint(LOG, SIZE, tree_hash(ENTRIES))
NOTE = checkpoint.sign(HEAD, SIGNER)
GOOD = LogProof(INDEX, tuple(merkle.inclusion_proof(INDEX, SIZE, reader(ENTRIES))), NOTE)
TEXT = log_proof.write(GOOD)
HASHES = log_proof.hash_lines(GOOD.hashes)


def accept(data: bytes, entry: bytes = ENTRIES[INDEX]) -> None:
    """Do what an auditor does with a proof: open its checkpoint, then follow the path."""
    proof = log_proof.parse(data)
    head, _ = checkpoint.open_checkpoint(proof.checkpoint, LOG, [SIGNER.public_key])
    log_proof.verify(proof, entry, head)


def test_a_proof_is_a_header_an_index_hashes_an_empty_line_and_the_checkpoint() -> None:
    lines = ["c2sp.org/tlog-proof@v1", "index 13", *(base64.b64encode(it).decode() for it in GOOD.hashes), "", ""]
    assert "\n".join(lines).encode() + NOTE == TEXT
    accept(TEXT)


@given(st.integers(0, 2**60), st.lists(st.binary(min_size=32, max_size=32), max_size=64), st.binary(max_size=200))
def test_what_was_written_is_read(index: int, hashes: list[bytes], note: bytes) -> None:
    proof = LogProof(index, tuple(hashes), note)
    assert log_proof.parse(log_proof.write(proof)) == proof


def test_every_entry_of_a_log_has_a_proof_that_is_accepted() -> None:
    for index, entry in enumerate(ENTRIES):
        accept(log_proof.write(LogProof(index, tuple(merkle.inclusion_proof(index, SIZE, reader(ENTRIES))), NOTE)), entry)


def test_a_log_of_one_entry_needs_no_hashes() -> None:
    head = Checkpoint(LOG, 1, tree_hash(ENTRIES[:1]))
    text = log_proof.write(LogProof(0, (), checkpoint.sign(head, SIGNER)))
    assert text.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + LOG.encode())
    accept(text, ENTRIES[0])


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_proof_passes(place: int, change: int) -> None:
    bad = bytearray(TEXT)
    bad[place] ^= change
    with pytest.raises(EvidenceBroken):
        accept(bytes(bad))


@given(st.integers(0, len(TEXT) - 1))
def test_no_proof_that_was_cut_passes(length: int) -> None:
    with pytest.raises(EvidenceBroken):
        accept(TEXT[:length])


@given(st.binary(max_size=20))
def test_no_other_entry_passes(entry: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^inclusion proof: "):
        accept(TEXT, entry + b"!")


def test_extra_data_is_read_over_as_nothing_vouches_for_it() -> None:
    text = TEXT.replace(b"\nindex", b"\nextra aGVsbG8=\nindex")
    assert log_proof.parse(text) == GOOD
    accept(text)


def without_spare_bits(line: str) -> str:
    """Another spelling of the same 32 bytes: 44 letters, of which the last before the padding has two bits to spare."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return line[:-2] + letters[letters.index(line[-2]) ^ 1] + "="


FIRST = HASHES[0].encode()
WRONG = {
    "empty": b"",
    "another version": TEXT.replace(b"@v1", b"@v2"),
    "no header": TEXT.partition(b"\n")[2],
    "nothing but a header": b"c2sp.org/tlog-proof@v1\n\n" + NOTE,
    "no empty line": TEXT.partition(b"\n\n")[0] + b"\n",
    "line ends of Windows": TEXT.replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT,
    "a space before": b" " + TEXT,
    "no index": TEXT.replace(b"index 13\n", b""),
    "two indexes": TEXT.replace(b"index 13\n", b"index 13\nindex 13\n"),
    "an index with a leading zero": TEXT.replace(b"index 13", b"index 013"),
    "an index with a plus sign": TEXT.replace(b"index 13", b"index +13"),
    "a negative index": TEXT.replace(b"index 13", b"index -13"),
    "an index with a space behind it": TEXT.replace(b"index 13", b"index 13 "),
    "a hash that is short": TEXT.replace(FIRST, base64.b64encode(bytes(31))),
    "a hash that is long": TEXT.replace(FIRST, base64.b64encode(bytes(33))),
    "a hash without padding": TEXT.replace(FIRST, FIRST.rstrip(b"=")),
    "a hash with spare bits": TEXT.replace(FIRST, without_spare_bits(HASHES[0]).encode()),
    "a hash with a space behind it": TEXT.replace(FIRST, FIRST + b" "),
    "a hash in hex": TEXT.replace(FIRST, GOOD.hashes[0].hex().encode()),
    "too many hashes": TEXT.replace(FIRST, b"\n".join([FIRST] * 65)),
    "extra data that is no base64": TEXT.replace(b"\nindex", b"\nextra ???\nindex"),
    "extra data twice": TEXT.replace(b"\nindex", b"\nextra aGVsbG8=\nextra aGVsbG8=\nindex"),
    "extra data behind the index": TEXT.replace(b"index 13\n", b"index 13\nextra aGVsbG8=\n"),
    "not ASCII": TEXT.replace(b"index 13", "index \u0661\u0663".encode()),
    "too long": TEXT + b"x" * 2**18,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^inclusion proof: "):
        log_proof.parse(data)


@pytest.mark.parametrize("text", ["AAAA=", "AA", "AA=", "AB==", "AAAA\n", " AAAA", "AA AA", "é", "____", "\ud800", "=", "===="])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(EvidenceBroken, match=r"^inclusion proof: "):
        log_proof.read_bytes(text)


def test_a_proof_of_an_older_checkpoint_does_not_lead_to_a_newer_one() -> None:
    head = Checkpoint(LOG, SIZE + 1, tree_hash([*ENTRIES, b"more"]))
    with pytest.raises(EvidenceBroken, match=r"^inclusion proof: "):
        log_proof.verify(GOOD, ENTRIES[INDEX], head)
