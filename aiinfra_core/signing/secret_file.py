"""Reading a file that holds one secret: a private key, a PIN or a token. What the secret is for lives in its back end."""

import os
import stat
from pathlib import Path

from aiinfra_core.errors import Misconfigured

_MAX_FILE_BYTES = 4096


def read(path: Path, what: str, way_out: str, *, closed_to: int = 0o077) -> str:
    """Return the text of a small plain file that nobody else can open; `closed_to` are the mode bits that must be off.

    Raises:
        Misconfigured: it is missing, unreadable, too large, not a plain file, or open to others; the content is never in the message.
    """
    try:
        # Non-blocking: opening a named pipe would otherwise hold us until somebody writes to it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
        text = data.decode()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"The {what} {path} cannot be read ({type(error).__name__}); {way_out}.") from None
    if not stat.S_ISREG(mode) or len(data) > _MAX_FILE_BYTES:
        raise Misconfigured(f"The {what} {path} is not a {what}: it must be a plain file of one line.")
    if mode & closed_to:
        raise Misconfigured(f"The {what} {path} can be read by others; run: chmod {mode & ~closed_to & 0o777:o} {path}")
    return text
