"""Looks into files that can hold code, in a process of its own: nothing inherited, memory and time limited, a verdict whatever happens.

What it does there is in `looking`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import BoundedSemaphore

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import recorded
from aiinfra_core.domain.artifact import StoredArtifact
from aiinfra_core.domain.scan import Finding, Verdict
from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings

AT_ONCE = 2
_turns = BoundedSemaphore(AT_ONCE)
_ROOT = str(Path(__file__).parents[2])
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from aiinfra_core.scanning import looking; looking.main()"


def look_into(settings: Settings, stored: StoredArtifact, files: Sequence[str]) -> list[Finding]:
    """Return what is in these files of an artifact, which is copied out of the store and verified first.

    A file that was not done with in time, or that ended the process, is `unknown`.

    Raises:
        DigestMismatch, ArtifactMissing: the bytes are not those any more.
        Unavailable: the store cannot be reached, `AT_ONCE` artifacts were looked into all the time, or too many wait.
    """
    with recorded.being_with_artifacts(), _turn(), tempfile.TemporaryDirectory(prefix="aiinfra-scan-") as folder:
        copy = Path(folder, "artifact")
        artifact_store.fetch(artifact_store.location_of(settings, stored.uri), stored.uri, stored.checksum, copy)
        asked = {"root": str(copy), "name": PurePosixPath(stored.uri).name, "files": list(files)}
        said, why = _run(asked, settings.scan_seconds, folder)
    return _findings(files, said, why)


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=recorded.LONGEST_WAIT_SECONDS):
        raise Unavailable("scanner", f"{AT_ONCE} artifacts are being scanned already; ask again later.")
    try:
        yield
    finally:
        _turns.release()


def _run(asked: Mapping[str, object], seconds: float, folder: str) -> tuple[bytes, str]:
    """Return what the process wrote, and why it stopped where it wrote too little."""
    command = [sys.executable, "-I", "-B", "-c", _PROGRAM, _ROOT]
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", f"looking into it took longer than {seconds:g} s; raise AI_INFRA_SCAN_SECONDS"
    return done.stdout, f"looking into it ended the scanner (exit code {done.returncode})"


def _findings(files: Sequence[str], said: bytes, why: str) -> list[Finding]:
    found = {finding.file: finding for finding in _read(said.splitlines())}
    return [found.get(name) or Finding(file=name, format="unknown", verdict=Verdict.UNKNOWN, detail=why) for name in files]


def _read(lines: Iterable[bytes]) -> Iterable[Finding]:
    for line in lines:
        try:
            yield Finding(**json.loads(line))
        except (ValueError, TypeError):  # cut off as its process ended
            return
