"""Checkpoints, proofs and directory digests are accepted by Go's sumdb packages, and refused by them when tampered with."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_core import checksums, merkle
from aiinfra_core.evidence import checkpoint, log_proof, note
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.log_proof import LogProof
from aiinfra_core.signing import local
from tests.interop.verifiers import go_accepts, go_dirhash
from tests.simulators.small_log import reader

SIGNER = local.from_base64(base64.b64encode(bytes(range(32))).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
LOG = "log.example/models"
VKEY = note.verifier_key(LOG, SIGNER.public_key)
ENTRIES = [b'{"event_type":"promotion.applied","seq":%d}' % n for n in range(1, 38)]
SIZES = (1, 2, 3, 4, 7, 8, 21, 32, 33, 37)
NODE = reader(ENTRIES)
SIZE, INDEX, OLD = 37, 20, 21
HASHES = merkle.inclusion_proof(INDEX, SIZE, NODE)


def root(size: int) -> bytes:
    return merkle.root(map(merkle.leaf_hash, ENTRIES[:size]))


def head(size: int = SIZE, of: bytes | None = None, origin: str = LOG) -> bytes:
    return checkpoint.sign(Checkpoint(origin, size, of or root(size)), SIGNER)


def proof(index: int = INDEX, hashes: list[bytes] = HASHES, signed: bytes | None = None) -> bytes:
    return log_proof.write(LogProof(index, tuple(hashes), signed or head()))


def consistency(old: int = OLD, old_root: bytes | None = None, hashes: list[bytes] | None = None) -> bytes:
    path = merkle.consistency_proof(old, SIZE, NODE) if hashes is None else hashes
    return "\n".join([str(old), *log_proof.hash_lines([old_root or root(old), *path]), ""]).encode()


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write bytes to a new file and return its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        path.write_bytes(data)
        return path

    return write


Written = Callable[[bytes], Path]


def test_go_accepts_checkpoints(written: Written) -> None:
    for size in SIZES:
        assert go_accepts("note", VKEY, written(head(size)))


TAMPERED_NOTES = {
    "another size": head().replace(b"\n37\n", b"\n38\n"),
    "another root": head().replace(base64.b64encode(root(37)), base64.b64encode(root(36))),
    "another origin": head().replace(LOG.encode(), b"log.example/others"),
    "one line more": head().replace(b"\n\n", b"\nmore\n\n"),
    "one bit of the signature": head()[:-4] + bytes([head()[-4] ^ 1]) + head()[-3:],
    "no signature": head().rpartition("—".encode())[0],
    "another key": checkpoint.sign(Checkpoint(LOG, SIZE, root(SIZE)), OTHER),
    "another name of the key": checkpoint.sign(Checkpoint("log.example/others", SIZE, root(SIZE)), SIGNER),
    "cut": head()[:-1],
}


@pytest.mark.parametrize("data", TAMPERED_NOTES.values(), ids=TAMPERED_NOTES.keys())
def test_go_refuses_a_tampered_checkpoint(data: bytes, written: Written) -> None:
    assert not go_accepts("note", VKEY, written(data))


def test_go_accepts_the_proof_of_every_entry(written: Written) -> None:
    for size in (1, 7, 37):
        for index in range(size):
            data = proof(index, merkle.inclusion_proof(index, size, NODE), head(size))
            assert go_accepts("inclusion", VKEY, written(data), written(ENTRIES[index]))


TAMPERED_PROOFS = {
    "another entry": (proof(), ENTRIES[INDEX + 1]),
    "an entry with a newline more": (proof(), ENTRIES[INDEX] + b"\n"),
    "another index": (proof(INDEX + 1), ENTRIES[INDEX]),
    "an index outside": (proof(SIZE), ENTRIES[INDEX]),
    "a hash changed": (proof(hashes=[bytes(32), *HASHES[1:]]), ENTRIES[INDEX]),
    "a hash left out": (proof(hashes=HASHES[1:]), ENTRIES[INDEX]),
    "a hash more": (proof(hashes=[*HASHES, bytes(32)]), ENTRIES[INDEX]),
    "two hashes swapped": (proof(hashes=[HASHES[1], HASHES[0], *HASHES[2:]]), ENTRIES[INDEX]),
    "the checkpoint of another size": (proof(signed=head(36)), ENTRIES[INDEX]),
    "a checkpoint that is not signed so": (proof(signed=head().replace(b"\n37\n", b"\n38\n")), ENTRIES[INDEX]),
}


@pytest.mark.parametrize(("data", "entry"), TAMPERED_PROOFS.values(), ids=TAMPERED_PROOFS.keys())
def test_go_refuses_a_tampered_inclusion_proof(data: bytes, entry: bytes, written: Written) -> None:
    assert not go_accepts("inclusion", VKEY, written(data), written(entry))


def test_go_accepts_the_proof_from_every_earlier_checkpoint(written: Written) -> None:
    newest = written(head())
    for old in range(1, SIZE + 1):
        assert go_accepts("consistency", VKEY, newest, written(consistency(old)))


REWRITTEN = [*ENTRIES[:3], b"rewritten", *ENTRIES[4:]]
PATH = merkle.consistency_proof(OLD, SIZE, NODE)
TAMPERED_CONSISTENCY = {
    "another old root": (head(), consistency(old_root=root(OLD - 1))),
    "another old size": (head(), consistency(OLD - 1, root(OLD), PATH)),
    "a hash changed": (head(), consistency(hashes=[bytes(32), *PATH[1:]])),
    "a hash left out": (head(), consistency(hashes=PATH[1:])),
    "a hash more": (head(), consistency(hashes=[*PATH, bytes(32)])),
    "a shorter log": (head(20), consistency()),
    "another root of the same size": (head(of=root(36)), consistency()),
    "a rewritten past": (
        head(of=merkle.root(map(merkle.leaf_hash, REWRITTEN))),
        consistency(hashes=merkle.consistency_proof(OLD, SIZE, reader(REWRITTEN))),
    ),
}


@pytest.mark.parametrize(("newer", "data"), TAMPERED_CONSISTENCY.values(), ids=TAMPERED_CONSISTENCY.keys())
def test_go_refuses_a_tampered_consistency_proof(newer: bytes, data: bytes, written: Written) -> None:
    assert not go_accepts("consistency", VKEY, written(newer), written(data))


FILES = {"weights.bin": b"\0" * 1000, "sub/config.json": b"{}", "sub.txt": b"", "ü x": b"1", ".hidden": b"2"}


def test_go_gives_a_directory_the_digest_it_has_here(tmp_path: Path) -> None:
    def write(files: dict[str, bytes], to: str) -> Path:
        for path, data in files.items():
            (tmp_path / to / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / to / path).write_bytes(data)
        return tmp_path / to

    digest = checksums.directory_digest({path: checksums.sha256_hex(data) for path, data in FILES.items()})
    assert go_dirhash(write(FILES, "model")) == digest
    others = [
        {**FILES, "ü x": b"2"},
        {**FILES, "more": b""},
        {path: data for path, data in FILES.items() if path != ".hidden"},
        {path.replace(".txt", ".text"): data for path, data in FILES.items()},
    ]
    for number, files in enumerate(others):
        assert go_dirhash(write(files, f"other-{number}")) != digest
