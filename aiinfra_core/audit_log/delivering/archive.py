"""The archive: each event in a file of its own, and the bytes that events hold only by digest.

`audit/YYYY/MM/DD/ID.json` is an event's exact entry, by the date of its `created_at`; `audit/values/SHA256` a value, which is there before
the event that names it. How an archive is read again lives in `archive_reading`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.artifact_store import Location, objects
from aiinfra_core.audit_log.delivering import values
from aiinfra_core.audit_log.delivering.sinks import Row, Take
from aiinfra_core.audit_log.delivering.values import Named
from aiinfra_core.errors import BadInput, DigestMismatch, EvidenceBroken, Unavailable
from aiinfra_core.evidence import entry

PARALLEL = 16
FOLDER = "audit/"
VALUES = f"{FOLDER}values/"


def key_of(row: Row) -> str:
    """Return where an event's entry is kept."""
    return f"{FOLDER}{row['created_at']:%Y/%m/%d}/{row['id']}.json"


def key_of_value(sha256: str) -> str:
    """Return where a value is kept."""
    return VALUES + sha256


def to(archive: Location, read: Callable[[list[Named]], Mapping[str, bytes]]) -> Take:
    """Return what writes events into an archive, several at a time; `read` returns digest -> bytes of values out of the database."""

    def take(rows: Sequence[Row]) -> Iterator[str | None]:
        named = [_named(row) for row in rows]
        found = read([value for of_row in named for value in of_row])
        with ThreadPoolExecutor(min(PARALLEL, len(rows)), thread_name_prefix="archive") as pool:
            yield from pool.map(partial(_put, archive, found), rows, named)

    return take


def _put(archive: Location, found: Mapping[str, bytes], row: Row, named: Sequence[Named]) -> str | None:
    missing = [value.place for value in named if value.sha256 not in found]
    if missing:
        return f"The database has not the value that the event names by digest: {', '.join(missing)}"
    try:
        for value in named:
            objects.put(archive, key_of_value(value.sha256), found[value.sha256])
        objects.put(archive, key_of(row), entry.leaf(row))
    except (DigestMismatch, EvidenceBroken) as error:
        return str(error)
    except BadInput as error:  # about the place, not about the event
        raise Unavailable("audit_sink", str(error)) from error
    return None


def _named(row: Row) -> list[Named]:
    try:
        payload: Any = canonical_json.loads(row["payload"], what="The payload")
    except BadInput:
        return []  # its entry is kept as it is; what is wrong with it is for the audit to say
    return values.named_in(payload) if isinstance(payload, dict) else []
