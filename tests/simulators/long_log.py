"""A long history in little time: valid, chained, signed events with the state rows they tell of, written with COPY.

Every third event begins a training job that is requested, started and fails. What is checked in such a history lives elsewhere.
"""

import base64
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Table

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.evidence.chain import Head, follow
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer
from aiinfra_core.tables import training_jobs

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES = 2
_STEPS = ("training.requested", "training.started", "training.failed")
_BLOCK = 1000
_FEW = 20 * _BLOCK
_SPEC = TrainingSpec(
    model="rainfall",
    code_ref=f"https://git.example/forecasts/rainfall.git@{'a1' * 20}",
    container_digest=f"sha256:{'c0' * 32}",
    entry_point="train.py",
    hyperparams={"depth": 8, "eta": 0.1, "rounds": 400},
    seed=7,
)
_MARKER = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Part:
    head: Head
    start: int
    end: int
    mine: range


def fill(settings: Settings, count: int, signer: Signer) -> None:
    """Append `count` events to a log that is empty or was made here, and the state rows they tell of; the outbox is not used."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        head = _head(connection)
        processes = PROCESSES if count > _FEW else 1
        shares = [head.seq + count * share // processes for share in range(processes + 1)]
        parts = [_Part(head, head.seq, head.seq + count, range(*pair)) for pair in pairwise(shares)]
        with _without_indexes(connection, count):
            if processes == 1:
                _write(url, parts[0], signer)
            else:
                _in_processes(url, parts, signer)
        connection.execute("ANALYZE audit_events, training_jobs")


def _in_processes(url: str, parts: Sequence[_Part], signer: Signer) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_write, args=(url, part, signer)) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def _head(connection: psycopg.Connection[Any]) -> Head:
    last = connection.execute("SELECT seq, hash, created_at FROM audit_events ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(*last) if last else Head()


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any], count: int) -> Iterator[None]:
    """Sorting a million keys once is ten times faster than a million insertions at random places."""
    found = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid IN ('audit_events'::regclass, 'training_jobs'::regclass) AND contype = 'u' AND %s",
        [count > _FEW],
    ).fetchall()
    for table, name, _ in found:
        connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(table), sql.Identifier(name)))
    yield
    connection.execute("SET maintenance_work_mem = '256MB'")
    for table, name, definition in found:
        restored = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} " + definition)
        connection.execute(restored.format(sql.Identifier(table), sql.Identifier(name)))


def _write(url: str, part: _Part, signer: Signer) -> None:
    for table, lines in ((audit_events, _events(part, signer)), (training_jobs, _jobs(part))):
        with psycopg.connect(url) as connection, _copy(connection, table) as copy:
            for block in _blocks(lines):
                copy.write("".join(block))


@contextmanager
def _copy(connection: psycopg.Connection[Any], table: Table) -> Iterator[psycopg.Copy]:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.c.keys()))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy


def _blocks(lines: Iterator[str]) -> Iterator[list[str]]:
    block = []
    for line in lines:
        block.append(line)
        if len(block) == _BLOCK:
            yield block
            block = []
    yield block


def _events(part: _Part, signer: Signer) -> Iterator[str]:
    """Chain the whole stretch, as hashes need it, and sign the own share; no event is older than the one before it."""
    templates, head, columns = [_template(step) for step in range(3)], part.head, audit_events.c.keys()
    for index in range(part.start, part.mine.stop):
        step = (index - part.start) % 3
        payload = templates[step] % _values(index - step)
        if index in part.mine:
            row = follow(head, payload)
            row |= {"signature": base64.b64encode(signer.sign(bytes.fromhex(row["hash"]))).decode(), "signer_id": signer.signer_id}
            yield _line([row[name] for name in columns])
        head = Head(index + 1, sha256(payload.encode() + bytes.fromhex(head.hash or "")).hexdigest())


def _jobs(part: _Part) -> Iterator[str]:
    rows, columns = [_row(step) for step in range(3)], training_jobs.c.keys()
    for first in range(part.start, part.end, 3):
        if first in part.mine:
            values = _values(first)
            row = rows[min(2, part.end - 1 - first)]
            yield _line([None if row[name] is None else str(row[name]) % values for name in columns])


def _values(first: int) -> dict[str, str]:
    """Return what differs between jobs: the id and the times of the job whose first event has this index."""
    times = {f"t{step}": f"{(BEGAN + timedelta(milliseconds=first + step)).isoformat(timespec='microseconds')[:-6]}Z" for step in range(3)}
    return {"id": f"00000000-0000-4000-8000-{first:012x}", **times}


def _line(values: list[Any]) -> str:
    return "\t".join("\\N" if value is None else str(value).replace("\\", "\\\\") for value in values) + "\n"


def _template(step: int) -> str:
    row = _row(step)
    told = event(
        _STEPS[step],
        at=_MARKER,
        actor=row["requested_by"],
        request_id=row["request_id"],
        subject=row["id"],
        rows={"training_jobs": row},
        digests={"spec": row["spec_digest"]},
    )
    return told["payload"].replace(timestamp(_MARKER), f"%(t{step})s")


def _row(step: int) -> dict[str, Any]:
    """Return the job's row after a step, with the places of what differs between jobs."""
    told = dict.fromkeys(training_jobs.c.keys()) | {
        "id": "%(id)s",
        "request_id": "train:%(id)s",
        **_SPEC.model_dump(exclude={"hyperparams", "dataset_refs"}),
        "hyperparams": canonical_json.dumps(_SPEC.hyperparams).decode(),
        "dataset_refs": "[]",
        "spec_digest": _SPEC.digest(),
        "requested_by": "tess",
        "status": ("queued", "running", "failed")[step],
        "created_at": "%(t0)s",
        "updated_at": f"%(t{step})s",
    }
    if step > 0:
        told["started_at"] = "%(t1)s"
    if step > 1:
        told |= {"finished_at": "%(t2)s", "exit_code": 1, "error": "The training ended with exit code 1; its log says why."}
    return told
