"""Writes one commit's tree as plain files: no filters, no line-end conversion, no attributes, no link that leads outside.

Fetching the commit is in `code`.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.training import git

_LINK, _SUBMODULE, _PROGRAM = b"120000", b"160000", b"100755"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    mode: bytes
    object_id: bytes
    path: str


def write(repository: Path, commit: str, destination: Path) -> None:
    """Write every file of a commit below `destination`, which must not exist; submodules are left out.

    Raises:
        BadInput: a name or a symbolic link in the commit leads outside.
    """
    entries = list(_entries(repository, commit))
    _check_no_file_is_a_folder(entries)
    destination.mkdir()
    # Links come last, so that nothing is ever written through one.
    with _objects(repository) as objects:
        for entry in sorted(entries, key=lambda entry: entry.mode == _LINK):
            _write_entry(objects, entry, destination)
    for entry in entries:
        if entry.mode == _LINK:
            _check_link(destination, entry.path)


def _entries(repository: Path, commit: str) -> Iterator[_Entry]:
    listing = git.run(repository, "ls-tree", "-r", "-z", "--full-tree", commit)
    if listing.returncode:
        raise Unavailable("code", f"The files of commit {commit} did not arrive whole; try again.")
    for line in filter(None, listing.stdout.split(b"\0")):
        about, _, name = line.partition(b"\t")
        mode, _, object_id = about.split(b" ")
        if mode != _SUBMODULE:
            yield _Entry(mode, object_id, _checked_name(os.fsdecode(name)))


def _checked_name(path: str) -> str:
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
        raise BadInput(f"The commit holds a file named {path!r}, which may not be written; remove it from the commit.")
    return path


# A forged tree may name `a` as a link and as a folder; what is in the folder would then be written through the link.
def _check_no_file_is_a_folder(entries: list[_Entry]) -> None:
    files = {entry.path.casefold() for entry in entries}
    for entry in entries:
        if any(str(folder) in files for folder in PurePosixPath(entry.path.casefold()).parents):
            raise BadInput(f"The commit names a folder of {entry.path!r} as a file as well; make the commit anew.")


def _objects(repository: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - a fixed command
        git.command(repository, "cat-file", "--batch"),
        env=git.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _write_entry(objects: "subprocess.Popen[bytes]", entry: _Entry, destination: Path) -> None:
    assert objects.stdin and objects.stdout  # noqa: S101 - both are pipes; this tells the type checker
    objects.stdin.write(entry.object_id + b"\n")
    objects.stdin.flush()
    size = int(objects.stdout.readline().split()[2])
    place = destination / entry.path
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode == _LINK:
        place.symlink_to(os.fsdecode(objects.stdout.read(size)))
    else:
        with place.open("xb") as file:
            _copy(objects.stdout, file, size)
        place.chmod(0o755 if entry.mode == _PROGRAM else 0o644)
    objects.stdout.read(1)


def _copy(source: IO[bytes], file: IO[bytes], size: int) -> None:
    while size > 0:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise Unavailable("code", "git stopped while the commit's files were written; try again.")
        file.write(chunk)
        size -= len(chunk)


def _check_link(destination: Path, path: str) -> None:
    if not Path(os.path.realpath(destination / path)).is_relative_to(destination.resolve()):
        raise BadInput(f"The commit holds a symbolic link {path!r} that leads outside; remove it from the commit.")
