"""Digests of bytes, files and directories, as others compute them: SHA-256 and Go's dirhash Hash1.

Reading from a store while hashing does not live here; see `artifact_store`.
"""

import hashlib
from collections.abc import Mapping

from aiinfra_core.errors import BadInput


def sha256_hex(data: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sums_text(files: Mapping[str, str]) -> bytes:
    """Return the `SHA256SUMS` text of a directory: lines `<hex>␠␠<path>`, byte-sorted by path, readable by `sha256sum -c`.

    Args:
        files: relative POSIX path -> hex SHA-256 of the file's bytes.

    Raises:
        BadInput: a path holds a newline or backslash, is absolute, or has an empty, `.` or `..` part.
    """
    lines = [f"{files[path]}  {checked_path(path)}\n" for path in sorted(files, key=str.encode)]
    return "".join(lines).encode()


def directory_digest(files: Mapping[str, str]) -> str:
    """Return in-toto's `dirHash` in hex: SHA-256 of the directory's `SHA256SUMS` text (Go `x/mod/sumdb/dirhash` Hash1)."""
    return sha256_hex(sums_text(files))


def checked_path(path: str) -> str:
    """Return the path if it may name a file of an artifact.

    Raises:
        BadInput: it could not be listed unambiguously or could leave the directory.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BadInput("A file name in the artifact is not UTF-8; rename it.") from error
    if "\n" in path or "\r" in path or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise BadInput(f"An artifact may not hold a file named {path!r}; rename it.")
    return path
