"""Read an archive back, in the order of the log and with flat memory: day after day, each day's entries sorted on disk.

Names are made of ids, so only the entries say in which order they stand; their times rise strictly, so days are in order. What an entry
says is not believed here, only that it stands where it should.
"""

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice

from aiinfra_core import checksums
from aiinfra_core.artifact_store import Location, objects
from aiinfra_core.audit_log.delivering.archive import FOLDER, PARALLEL, VALUES, key_of, key_of_value
from aiinfra_core.errors import BadInput, EvidenceBroken, NotFound
from aiinfra_core.evidence import entry

_LEVELS = (re.compile(r"[0-9]{4}/"), re.compile(r"(0[1-9]|1[0-2])/"), re.compile(r"(0[1-9]|[12][0-9]|3[01])/"))
_ENTRY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.json")
_AT_ONCE = 1024


def entries(archive: Location) -> Iterator[tuple[str, bytes]]:
    """Yield where each entry is kept, and its bytes, in the order of the log.

    Raises:
        EvidenceBroken: at the file: it is no entry, is not where that entry belongs, or two claim one place in the log.
        Unavailable: the store cannot be reached or refuses.
    """
    for day in _days(archive):
        yield from _sorted(archive, day)


def value(archive: Location, sha256: str) -> bytes:
    """Return a value by its digest.

    Raises:
        EvidenceBroken: at the file: it is missing, or holds other bytes.
        Unavailable: the store cannot be reached or refuses.
    """
    key = key_of_value(sha256)
    data = _read(archive, key)
    if checksums.sha256_hex(data) != sha256:
        raise EvidenceBroken(key, "it does not hold the bytes that the log names by this digest.")
    return data


def _days(archive: Location) -> Iterator[str]:
    for year in _folders(archive, FOLDER, 0):
        for month in _folders(archive, year, 1):
            yield from _folders(archive, month, 2)


def _folders(archive: Location, above: str, level: int) -> list[str]:
    names = [name for name in objects.children(archive, above) if above + name != VALUES]
    for name in names:
        if not _LEVELS[level].fullmatch(name):
            raise EvidenceBroken(above + name, "it is no part of an archive; take it away.")
    return [above + name for name in sorted(names)]


def _sorted(archive: Location, day: str) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect("", check_same_thread=False)) as scratch:  # a nameless one is a file of its own, gone when it is closed
        scratch.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, key TEXT, leaf BLOB)")
        for key, leaf, seq in _unsorted(archive, day):
            try:
                scratch.execute("INSERT INTO entries VALUES (?, ?, ?)", (seq, key, leaf))
            except sqlite3.IntegrityError:
                (other,) = scratch.execute("SELECT key FROM entries WHERE seq = ?", (seq,)).fetchone()
                raise EvidenceBroken(key, f"it claims the place {seq} in the log, as {other} does.") from None
        yield from scratch.execute("SELECT key, leaf FROM entries ORDER BY seq")


def _unsorted(archive: Location, day: str) -> Iterator[tuple[str, bytes, int]]:
    names = iter(objects.children(archive, day))
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="archive") as pool:
        while batch := list(islice(names, _AT_ONCE)):
            yield from pool.map(partial(_entry, archive), (day + name for name in batch))


def _entry(archive: Location, key: str) -> tuple[str, bytes, int]:
    if not _ENTRY.fullmatch(key.rpartition("/")[2]):
        raise EvidenceBroken(key, "it is no part of an archive; take it away.")
    leaf = _read(archive, key)
    try:
        row = entry.read_leaf(leaf)
        belongs = key_of(row)
    except EvidenceBroken as error:
        raise EvidenceBroken(key, error.detail) from None
    if belongs != key:
        raise EvidenceBroken(key, f"it holds the entry that belongs to {belongs}.")
    seq: int = row["seq"]
    return key, leaf, seq


def _read(archive: Location, key: str) -> bytes:
    try:
        return objects.read(archive, key)
    except NotFound:
        raise EvidenceBroken(key, "it is missing from the archive.") from None
    except BadInput as error:
        raise EvidenceBroken(key, str(error)) from None
