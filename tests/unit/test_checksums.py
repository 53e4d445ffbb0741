"""Digests agree with what other people's tools compute."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_core import checksums
from aiinfra_core.errors import BadInput

_characters = st.characters(codec="utf-8", exclude_characters="/\0\n\r\\")
_names = st.text(_characters, min_size=1, max_size=40).filter(lambda name: name not in ("-", ".", ".."))
_paths = st.one_of(_names, st.tuples(st.just("sub"), _names).map("/".join)).filter(lambda path: path != "sub")
_directories = st.dictionaries(_paths, st.binary(max_size=64), min_size=1, max_size=6)


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {path: checksums.sha256_hex(data) for path, data in files.items()}


@given(_directories)
def test_a_directory_digest_is_the_hash_of_its_sorted_lines(files: dict[str, bytes]) -> None:
    whole = hashlib.sha256()
    for path in sorted(os.fsencode(path) for path in files):
        whole.update(hashlib.sha256(files[os.fsdecode(path)]).hexdigest().encode() + b"  " + path + b"\n")
    assert checksums.directory_digest(digests(files)) == whole.hexdigest()


@settings(max_examples=40, deadline=None)
@given(_directories)
def test_sha256sum_accepts_the_sums_of_any_allowed_directory(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, data in files.items():
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        sums = Path(folder) / "sub.SHA256SUMS"
        sums.write_bytes(checksums.sums_text(digests(files)))
        check = ["sha256sum", "--strict", "--status", "-c", sums.name]
        assert subprocess.run(check, cwd=folder, check=False, stdin=subprocess.DEVNULL).returncode == 0
        altered = Path(folder) / next(iter(files))
        altered.write_bytes(altered.read_bytes() + b"!")
        assert subprocess.run(check, cwd=folder, check=False, stdin=subprocess.DEVNULL).returncode == 1


def test_a_directory_digest_is_what_coreutils_compute(tmp_path: Path) -> None:
    files = {"b/z": b"1", "b.txt": b"2", "a b": b"", "-x": b"3", "ü": b"4", "B": b"5"}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    script = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum -- | sha256sum"
    printed = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert checksums.directory_digest(digests(files)) == printed.split()[0]


@pytest.mark.parametrize(
    "path", ["", ".", "..", "-", "/a", "a/", "a//b", "a/./b", "../a", "a/..", "a\nb", "a\rb", "a\\b", "a\0b", "a\udcff"]
)
def test_a_path_that_could_mislead_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        checksums.sums_text({path: "0" * 64})
