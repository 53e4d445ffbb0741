"""Re-check the whole history: chain, signatures, and every state row against the event that changed it last.

One consistent snapshot of the database is read; events still in the outbox count as seen, because their rows are committed.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.snapshot import snapshot
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import AiInfraError, BadInput
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.tables import (
    attestations,
    audit_events,
    audit_outbox,
    environment_pointers,
    evaluations,
    model_artifacts,
    model_promotions,
    models,
    training_jobs,
)

STATE_TABLES: tuple[Table, ...] = (
    training_jobs,
    models,
    model_artifacts,
    evaluations,
    attestations,
    model_promotions,
    environment_pointers,
)
_PAGE = 1000


@dataclass(frozen=True)
class Finding:
    """Something that does not verify: where, and what is wrong."""

    place: str
    problem: str


@dataclass
class History:
    """What the log was found to be; without findings it is whole."""

    events: int = 0
    waiting: int = 0
    findings: list[Finding] = field(default_factory=list)


def check_history(tx: Connection, trust: Trust) -> History:
    """Walk every event and every state row and report what does not verify.

    Args:
        tx: a transaction that reads one snapshot (repeatable read).
        trust: whose signatures count.
    """
    history = History()
    keys = {entry.signer_id: public_key.parse(entry.public_key) for entry in trust.keys}
    told: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in _check_chain(tx, keys, history):
        _remember(told, event)
    for payload in tx.execute(select(audit_outbox.c.payload).order_by(audit_outbox.c.id)).scalars():
        history.waiting += 1
        _remember(told, _readable(payload))
    for table in STATE_TABLES:
        history.findings.extend(_check_rows(tx, table, told))
    return history


def _check_chain(tx: Connection, keys: Mapping[str, PublicKey], history: History) -> Iterator[Mapping[str, Any]]:
    head = Head()
    query = select(audit_events).order_by(audit_events.c.seq)
    for row in tx.execute(query.execution_options(yield_per=_PAGE)).mappings():
        history.events += 1
        history.findings.extend(Finding(f"audit_events seq {row['seq']}", problem) for problem in _problems(head, row, keys))
        head = head_after({str(name): value for name, value in row.items()})
        yield _readable(row["payload"])


def _problems(head: Head, row: Mapping[Any, Any], keys: Mapping[str, PublicKey]) -> Iterator[str]:
    try:
        expected = follow(head, row["payload"])
    except (BadInput, AttributeError, KeyError, TypeError, ValueError):
        yield "payload is not an event, or does not follow the one before it"
        return
    changed = [name for name, value in expected.items() if row[name] != value]
    if changed:
        yield f"{', '.join(changed)} does not follow from the event before it and its payload"
    yield from _signature_problems(row, keys)


def _signature_problems(row: Mapping[Any, Any], keys: Mapping[str, PublicKey]) -> Iterator[str]:
    key = keys.get(row["signer_id"])
    if key is None:
        yield f"signer_id {row['signer_id']} has no trusted key"
        return
    try:
        signature = base64.b64decode(row["signature"], validate=True)
        key.verify(bytes.fromhex(row["hash"]), signature)
    except (AiInfraError, TypeError, ValueError):
        yield "signature does not verify"
        return
    if base64.b64encode(signature).decode() != row["signature"]:
        yield "signature is spelled in an unusual way"


def _readable(payload: str | None) -> Mapping[str, Any]:
    try:
        event = canonical_json.loads(payload or "")
    except BadInput:
        return {}
    return event if isinstance(event, dict) else {}


def _remember(told: dict[tuple[str, str], Mapping[str, Any]], event: Mapping[str, Any]) -> None:
    known = {table.name: table for table in STATE_TABLES}
    rows = event.get("rows")
    for name, row in rows.items() if isinstance(rows, dict) else ():
        if name in known and isinstance(row, dict):
            told[name, _key(known[name], row)] = row


def _key(table: Table, row: Mapping[str, Any]) -> str:
    return "/".join(str(row.get(column.name)) for column in table.primary_key.columns)


def _check_rows(tx: Connection, table: Table, told: dict[tuple[str, str], Mapping[str, Any]]) -> Iterator[Finding]:
    unseen = {key for name, key in told if name == table.name}
    for row in tx.execute(select(table).execution_options(yield_per=_PAGE)).mappings():
        now = snapshot({str(name): value for name, value in row.items()})
        key = _key(table, now)
        unseen.discard(key)
        yield from _row_problem(table, key, now, told.get((table.name, key)))
    for key in sorted(unseen):
        yield Finding(f"{table.name} {key}", "the row is missing, but an event tells of it")


def _row_problem(table: Table, key: str, now: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterable[Finding]:
    if before is None:
        return [Finding(f"{table.name} {key}", "no event tells of this row")]
    changed = [name for name in now if now[name] != before.get(name)] + sorted(before.keys() - now.keys())
    return [Finding(f"{table.name} {key}", f"{', '.join(changed)} differs from its last event")] if changed else []
