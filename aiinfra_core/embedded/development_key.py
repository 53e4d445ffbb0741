"""The Ed25519 key that signs during development: made once, marked as what it is, refused in production.

The file is the base64 of the 32-byte seed after one comment line; reading it to sign lives in `signing`.
"""

import base64
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from aiinfra_core.embedded import processes
from aiinfra_core.errors import Misconfigured
from aiinfra_core.signing.uri import key_file

MARK = "# development key: it was made without ceremony, anyone with this file can sign; production refuses it"
ROOT_KEY = "development-root.key"


def path_in(home: Path, name: str = "development.key") -> Path:
    """Return where this home's development key is, made or not."""
    return home / name


def ensure(home: Path, name: str = "development.key") -> Path:
    """Make the key (or another of this name) unless it is there; return its path. Among racing starters one key wins and all get it.

    Raises:
        Misconfigured: the file can be read by others, or the folder cannot be written.
    """
    path = path_in(processes.private_folder(home), name)
    if not path.exists():
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Misconfigured(f"The development key can be read by others; type: chmod 600 {path}")
    return path


def is_development_key(path: Path) -> bool:
    """Say whether a key file carries the development mark."""
    try:
        return path.read_text(errors="replace").startswith(MARK.split(":")[0])
    except OSError:
        return False


def is_named_by(signer_uri: str) -> bool:
    """Say whether a signer URI names a file with the development mark."""
    path = key_file(signer_uri)
    return path is not None and is_development_key(path)


def _make(path: Path) -> None:
    text = f"{MARK}\n{base64.b64encode(secrets.token_bytes(32)).decode()}\n"
    descriptor, draft = tempfile.mkstemp(prefix=".development.key-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # somebody else was first, and whole: a link never replaces
            os.link(draft, path)
    finally:
        Path(draft).unlink()
