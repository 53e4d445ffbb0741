"""The layout of an export directory, and reading one that nobody vouches for.

Every file but the artifact's own is small and is read once, whole: what is checked and what is used are the same bytes. Links, special
files, empty directories, names the layout does not know and files larger than theirs may be are reported and not read; nothing outside
the directory is ever opened. What the files say is judged in `verification`.
"""

import os
import re
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aiinfra_core.checksums import checked_path
from aiinfra_core.errors import BadInput, NotFound

STATEMENT = "export.dsse.json"
FILES = "FILES.SHA256"
README = "README.txt"
SCRIPT = "verify.sh"
SUMS = "SHA256SUMS"
CHECKPOINT = "checkpoint"
BOM = "bom.cdx.json"
MODEL = "model"
TRUST = "trust"
OPENSSF = "openssf/model.sig"
OPENSSF_KEY = "openssf/public-key.pem"

_KIB, _MIB = 2**10, 2**20
MAX_CHECKPOINT_BYTES = 128 * _KIB
_MOST = {  # what a file may be called, and the most bytes it may have
    r"export\.dsse\.json": 64 * _KIB,
    r"FILES\.SHA256": 32 * _MIB,
    r"SHA256SUMS": 64 * _MIB,
    r"README\.txt|verify\.sh|checkpoint": MAX_CHECKPOINT_BYTES,
    r"bom\.cdx\.json": 64 * _MIB,
    r"openssf/model\.sig": 64 * _MIB,
    r"openssf/public-key\.pem": 16 * _KIB,
    r"attestations/[0-9a-f]{64}\.dsse\.json": 64 * _KIB,
    r"bundles/[0-9a-f]{64}\.sigstore\.json": 64 * _KIB,
    r"events/[0-9]{20}\.json": 4 * _MIB,
    r"proofs/[0-9]{20}\.tlog-proof": 128 * _KIB,
    r"consistency/[1-9][0-9]{0,18}": 16 * _KIB,
    r"trust/[1-9][0-9]{0,5}\.root\.json|trust/targets\.json": 256 * _KIB,
    r"trust/trust\.json": 4 * _MIB,
    r"policies/[0-9a-f]{64}": 4 * _MIB,
    r"values/[0-9a-f]{64}": 4 * _MIB,
    r"training/[0-9a-f]{64}\.json": 64 * _MIB,
}
_CAPS = tuple((re.compile(name), most) for name, most in _MOST.items())
_MOST_FILES = 200_000
_MOST_BYTES = 512 * _MIB
_MOST_DEPTH = 64
_BLOCK = 256 * _KIB
_SHARES_PER_CORE = 32
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def attestation_name(digest: str) -> str:
    """Return where the envelope of a statement is."""
    return f"attestations/{digest}.dsse.json"


def sigstore_name(digest: str) -> str:
    """Return where the same as a Sigstore bundle is."""
    return f"bundles/{digest}.sigstore.json"


def event_name(seq: int) -> str:
    """Return where an entry of the log is."""
    return f"events/{seq:020d}.json"


def proof_name(seq: int) -> str:
    """Return where the proof of its inclusion is."""
    return f"proofs/{seq:020d}.tlog-proof"


def consistency_name(size: int) -> str:
    """Return where the proof is that the log continues an earlier checkpoint."""
    return f"consistency/{size}"


def policy_name(digest: str) -> str:
    """Return where the bytes of a policy are."""
    return f"policies/{digest}"


def value_name(digest: str) -> str:
    """Return where a long value is that a row of the log holds by its digest."""
    return f"values/{digest}"


def training_name(digest: str) -> str:
    """Return where the record of a training is."""
    return f"training/{digest}.json"


@dataclass(frozen=True)
class Bundle:
    """An export directory as it was read; nothing in it is verified.

    `files` holds every small file by name, `model` the names of the artifact's files below `model/`, byte-sorted; `refused` what stands in
    the directory and may not, name to reason.
    """

    folder: Path
    files: Mapping[str, bytes]
    model: tuple[str, ...]
    refused: Mapping[str, str]

    def below(self, folder: str) -> dict[str, bytes]:
        """Return the files directly below a folder, by their name in it, sorted."""
        return {name.removeprefix(f"{folder}/"): self.files[name] for name in sorted(self.files) if name.startswith(f"{folder}/")}


def is_export(path: Path) -> bool:
    """Return whether a path looks like an export directory."""
    return os.path.lexists(path / STATEMENT)


def read(folder: Path) -> Bundle:
    """Read an export directory; what may not be in it is told in `refused`.

    Raises:
        NotFound: there is nothing at the path.
        BadInput: it is no directory, is no export, or cannot be read.
    """
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"There is no directory {folder}; name one that aiinfra export wrote.") from None
    except OSError as error:
        raise BadInput(f"{folder} is no export directory: {error.strerror}.") from None
    reader = _Reader(folder)
    try:
        reader.walk(top, "")
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.filename or 'a file in it'}: {error.strerror}.") from None
    finally:
        os.close(top)
    if not reader.files:
        raise BadInput(f"{folder} is no export: it has none of the files of one, such as {STATEMENT}.")
    return Bundle(folder, reader.files, tuple(sorted(reader.model, key=str.encode)), reader.refused)


def hash_model(bundle: Bundle) -> dict[str, str]:
    """Return name -> hex SHA-256 of the artifact's files, hashed on every core.

    Raises:
        BadInput: one cannot be read, or is no regular file any more.
    """
    workers = len(os.sched_getaffinity(0))
    share = max(1, len(bundle.model) // (workers * _SHARES_PER_CORE))
    shares = [bundle.model[start : start + share] for start in range(0, len(bundle.model), share)]
    with ThreadPoolExecutor(workers, thread_name_prefix="sha256") as pool:
        hashed = pool.map(lambda names: _hash_share(bundle.folder / MODEL, names), shares)
        return {name: checksum for pairs in hashed for name, checksum in pairs}


def _hash_share(model: Path, names: tuple[str, ...]) -> list[tuple[str, str]]:
    block = memoryview(bytearray(_BLOCK))
    return [(name, _hashed(model / name, block)) for name in names]


def _hashed(path: Path, block: memoryview) -> str:
    digest = sha256()
    try:
        with open(os.open(path, _FLAGS), "rb", buffering=0) as file:  # noqa: PTH123 - pathlib opens no descriptor
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput(f"{path} is no regular file.")
            while count := file.readinto(block):
                digest.update(block[:count])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()


class _Reader:
    """Collects what an export directory holds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.size = folder, 0
        self.files: dict[str, bytes] = {}
        self.model: list[str] = []
        self.refused: dict[str, str] = {}

    def walk(self, directory: int, prefix: str) -> None:
        """Take in everything below an open directory."""
        with os.scandir(directory) as entries:
            children = sorted((entry.name, entry.stat(follow_symlinks=False).st_mode) for entry in entries)
        if not children:
            self.refused[prefix or "."] = "it is an empty directory, which no sum can record."
        for name, mode in children:
            try:
                self._take(directory, checked_path(prefix + name), name, mode)
            except BadInput as error:
                self.refused[(prefix + name).encode(errors="replace").decode()] = str(error)

    def _take(self, directory: int, path: str, name: str, mode: int) -> None:
        if stat.S_ISDIR(mode) and path.count("/") < _MOST_DEPTH:
            inner = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
            try:
                self.walk(inner, f"{path}/")
            finally:
                os.close(inner)
        elif not stat.S_ISREG(mode):
            self.refused[path] = "it is a link or a special file; an export holds regular files only."
        elif path.startswith(f"{MODEL}/"):
            self.model.append(path.removeprefix(f"{MODEL}/"))
        else:
            self._read(directory, path, name)

    def _read(self, directory: int, path: str, name: str) -> None:
        most = next((most for pattern, most in _CAPS if pattern.fullmatch(path)), None)
        if most is None:
            self.refused[path] = "no export has a file of this name."
            return
        with open(os.open(name, _FLAGS, dir_fd=directory), "rb") as file:  # noqa: PTH123 - pathlib opens no descriptor
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput("It is no regular file any more.")
            data = file.read(most + 1)
        self.size += len(data)
        if len(self.files) == _MOST_FILES or self.size > _MOST_BYTES:
            raise BadInput("There are more files before it than any export has; it was not read.")
        if len(data) > most:
            self.refused[path] = f"it is larger than the {most} bytes such a file may have."
        else:
            self.files[path] = data
