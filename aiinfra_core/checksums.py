"""Digests of bytes, files and directories, as others compute them: SHA-256 and Go's dirhash Hash1.

Reading from a store while hashing does not live here; see `artifact_store`.
"""

import hashlib
from collections.abc import Mapping

from aiinfra_core.errors import BadInput

SUMS_SUFFIX = ".SHA256SUMS"
"""What the file beside a stored directory is called: the directory's own name and this."""


def sha256_hex(data: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sums_text(files: Mapping[str, str]) -> bytes:
    """Return the `SHA256SUMS` text of a directory: lines `<hex>␠␠<path>`, byte-sorted by path, readable by `sha256sum -c`.

    Args:
        files: relative POSIX path -> hex SHA-256 of the file's bytes.

    Raises:
        BadInput: `checked_path` refuses a path.
    """
    lines = [f"{files[path]}  {path}\n" for path in sorted(map(checked_path, files), key=str.encode)]
    return "".join(lines).encode()


def directory_digest(files: Mapping[str, str]) -> str:
    """Return in-toto's `dirHash` in hex: SHA-256 of the directory's `SHA256SUMS` text (Go `x/mod/sumdb/dirhash` Hash1)."""
    return sha256_hex(sums_text(files))


def checked_path(path: str) -> str:
    """Return the path if it may name a file of an artifact.

    Raises:
        BadInput: it could not be listed unambiguously (a newline or backslash; `-`, which `sha256sum` takes for its standard
            input) or could leave the directory (absolute, or with an empty, `.` or `..` part).
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BadInput("A file name in the artifact is not UTF-8; rename it.") from error
    if path == "-" or set(path) & set("\n\r\\\0") or any(part in ("", ".", "..") for part in path.split("/")):
        raise BadInput(f"An artifact may not hold a file named {path!r}; rename it.")
    return path
