"""What a verification knows so far, in one SQLite file: how far it came, the tree there, what events told of rows, what is wrong.

Each stretch of the log is one transaction, so that a verification killed anywhere goes on where it stood; and however long the log,
nothing of this is held in memory.
"""

import fcntl
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiinfra_core.audit_log.checking.tree import Tree
from aiinfra_core.audit_log.checking.walk import Problem, Tip
from aiinfra_core.errors import Conflict, Misconfigured

MOST_PROBLEMS = 1000
_FORMAT = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS told (place TEXT, key TEXT, seq INTEGER, digest BLOB, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (place TEXT, key TEXT, digest BLOB, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS here (place TEXT, key TEXT);
CREATE TABLE IF NOT EXISTS touched (place TEXT, key TEXT, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outside (size INTEGER, note BLOB);
CREATE TABLE IF NOT EXISTS problems (place TEXT, problem TEXT, UNIQUE (place, problem));
"""
_EMPTY = "DELETE FROM told; DELETE FROM problems; DELETE FROM state; DELETE FROM touched;"
_OF_THIS_RUN = "DELETE FROM waiting; DELETE FROM outside; DELETE FROM here;"
_MISSING = """
SELECT key FROM (SELECT key FROM told WHERE place = ?1 UNION SELECT key FROM waiting WHERE place = ?1)
EXCEPT SELECT key FROM here WHERE place = ?1 ORDER BY 1 LIMIT ?2"""
_EXTRA = """
SELECT key FROM here WHERE place = ?1
EXCEPT SELECT key FROM (SELECT key FROM told WHERE place = ?1 UNION SELECT key FROM waiting WHERE place = ?1) ORDER BY 1 LIMIT ?2"""
# In bytes, whatever the number of rows; negative means KiB to SQLite.
_CACHE_KIB = 32 * 1024

Key = tuple[str, str]


@dataclass(frozen=True)
class Position:
    """How far a verification came.

    `log` and `trust` say of which log by whose keys; `tip` and `tree` are where it stands, `anchor` and `anchor_tree` where the last
    checkpoint before that stands; `whole` once every row was compared; `checkpoints` counts those in the database up to `tip`, `recent`
    are the sizes of the last ones, `broken` counts all that is wrong.
    """

    log: str
    trust: str
    tip: Tip = field(default_factory=Tip)
    tree: Tree = field(default_factory=Tree)
    anchor: Tip = field(default_factory=Tip)
    anchor_tree: Tree = field(default_factory=Tree)
    whole: bool = False
    checkpoints: int = 0
    recent: list[int] = field(default_factory=list)
    broken: int = 0


@contextmanager
def opened(state: Path | None) -> Iterator["Verified"]:
    """Give what is kept in a file, or nothing kept in a file that is gone afterwards; one verification at a time.

    Raises:
        Conflict: another one is at work with this file.
        Misconfigured: nothing can be kept there.
    """
    with tempfile.TemporaryDirectory(prefix="aiinfra-audit-") as folder:
        path = state or Path(folder) / "verified.sqlite"
        with _locked(path):
            verified = Verified(path)
            try:
                yield verified
            finally:
                verified.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock").open("w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise Misconfigured(f"{path} cannot keep what was verified ({error.strerror}); name another with --state.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another verification is at work with {path}; wait for it, or name another file with --state.") from None
        yield


class Verified:
    """The file; one writer, any number of readers."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        try:
            if read_only:
                self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            else:
                self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
                self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _SCHEMA + _OF_THIS_RUN)
                self._db.execute("PRAGMA locking_mode = NORMAL")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except sqlite3.Error as error:
            raise Misconfigured(f"{path} cannot keep what was verified ({error}); remove it, or name another with --state.") from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def position(self) -> Position | None:
        """Return how far the last verification came; None where there was none, or one of another release."""
        found = self._db.execute("SELECT value FROM state").fetchone()
        value = json.loads(found[0]) if found else {}
        if value.pop("format", None) != _FORMAT:
            return None
        tips = {name: Tip(*value[name]) for name in ("tip", "anchor")}
        return Position(**value | tips | {name: Tree.read(value[name]) for name in ("tree", "anchor_tree")})

    def start_anew(self) -> None:
        """Forget everything."""
        self._db.executescript(f"BEGIN; {_EMPTY} COMMIT;")

    def keep(
        self,
        position: Position,
        told: Iterable[tuple[str, str, int, bytes]] = (),
        problems: Sequence[Problem] = (),
        *,
        touching: bool = False,
    ) -> None:
        """Take in a stretch: where it ends, the digests of rows it told of, and what is wrong in it. All of it or nothing."""
        rows = list(told)
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", rows)
        if touching:
            self._db.executemany("INSERT OR IGNORE INTO touched VALUES (?, ?)", [row[:2] for row in rows])
        room = MOST_PROBLEMS - self._db.execute("SELECT count(*) FROM problems").fetchone()[0]
        self._db.executemany("INSERT OR IGNORE INTO problems VALUES (?, ?)", problems[: max(0, room)])
        trees = {"tree": position.tree.written(), "anchor_tree": position.anchor_tree.written()}
        value = vars(position) | trees | {"format": _FORMAT}
        self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", [json.dumps(value)])
        self._db.execute("COMMIT")

    def forget_touched(self) -> None:
        """Forget which rows the new events told of, once those were compared."""
        self._db.execute("DELETE FROM touched")

    def problems(self) -> list[Problem]:
        """Return what is wrong, the first of it where there is very much."""
        return list(self._db.execute("SELECT place, problem FROM problems LIMIT ?", [MOST_PROBLEMS]))

    def add_waiting(self, told: Iterable[tuple[str, str, bytes]]) -> None:
        """Take in what events that wait to be chained tell of rows."""
        self._db.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", told)

    def told(self, place: str, keys: Sequence[str]) -> dict[str, tuple[int | None, bytes]]:
        """Return key -> the last event that told of the row (None: it waits to be chained) and the digest of what it told."""
        listed = json.dumps(keys)
        found: dict[str, tuple[int | None, bytes]] = {
            key: (seq, digest)
            for key, seq, digest in self._db.execute(
                "SELECT key, seq, digest FROM told WHERE place = ? AND key IN (SELECT value FROM json_each(?))", [place, listed]
            )
        }
        waiting = self._db.execute(
            "SELECT key, digest FROM waiting WHERE place = ? AND key IN (SELECT value FROM json_each(?))", [place, listed]
        )
        return found | {key: (None, digest) for key, digest in waiting}

    def number_told(self) -> Mapping[str, int]:
        """Return state table -> how many of its rows events tell of."""
        both = "SELECT place, key FROM told UNION SELECT place, key FROM waiting"
        one = "SELECT place, key FROM told"
        some_wait = self._db.execute("SELECT EXISTS (SELECT 1 FROM waiting)").fetchone()[0]
        return dict(self._db.execute(f"SELECT place, count(*) FROM ({both if some_wait else one}) GROUP BY place"))  # noqa: S608 - our own

    def touched(self, place: str, batch: int) -> Iterator[list[str]]:
        """Yield the keys of rows the new events told of, and those that wait, in batches."""
        query = self._db.execute("SELECT key FROM touched WHERE place = ? UNION SELECT key FROM waiting WHERE place = ?", [place, place])
        while rows := query.fetchmany(batch):
            yield [key for (key,) in rows]

    def unmatched(self, place: str, here: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the keys that events tell of and that are not here, and those here that no event tells of; the first of very many."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO here VALUES (?, ?)", ((place, key) for key in here))
        self._db.execute("COMMIT")
        return self._keys(place, _MISSING), self._keys(place, _EXTRA)

    def broken_in(self, place: str) -> bool:
        """Return whether something is wrong in this state table."""
        found = self._db.execute("SELECT EXISTS (SELECT 1 FROM problems WHERE substr(place, 1, ?) = ?)", [len(place) + 1, f"{place} "])
        return bool(found.fetchone()[0])

    def add_outside(self, checkpoints: Iterable[tuple[int, bytes]]) -> None:
        """Take in checkpoints that were published outside the database."""
        self._db.execute("BEGIN")
        try:
            self._db.executemany("INSERT INTO outside VALUES (?, ?)", checkpoints)
        finally:
            self._db.execute("COMMIT")

    def outside(self, after: int, to: int) -> list[tuple[int, bytes]]:
        """Return the published checkpoints of a stretch."""
        return list(self._db.execute("SELECT size, note FROM outside WHERE size > ? AND size <= ? ORDER BY size", [after, to]))

    def last_outside(self) -> int:
        """Return the size of the newest one, 0 where there is none."""
        found: Any = self._db.execute("SELECT coalesce(max(size), 0) FROM outside").fetchone()
        return int(found[0])

    def _keys(self, place: str, query: str) -> list[str]:
        return [key for (key,) in self._db.execute(query, [place, MOST_PROBLEMS])]
