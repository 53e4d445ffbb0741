"""Write rows again as events tell of them, when a registry is rebuilt from its log. That an event may be believed is not checked here."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, DateTime, Executable, LargeBinary, Table, Text, Uuid, and_, cast
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core.audit_log.snapshot import snapshot
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.tables import STATE_TABLES

# What a later event may say otherwise about a row; sql/roles.sql lets the product change exactly these.
CHANGING: dict[str, frozenset[str]] = {
    "training_jobs": frozenset(
        [
            "status",
            "updated_at",
            "started_at",
            "finished_at",
            "exit_code",
            "error",
            "artifact_uri",
            "digest_kind",
            "checksum",
            "size_bytes",
            "metrics",
            "training_record_sha256",
            "training_record_uri",
            "log_uri",
            "attestation",
        ]
    ),
    "models": frozenset({"last_version"}),
    "model_promotions": frozenset(
        [
            "status",
            "decision",
            "reason",
            "manifest",
            "signature",
            "signer_id",
            "updated_at",
            "applied_at",
            "approvals_required",
            "pending_until",
        ]
    ),
    "environment_pointers": frozenset(["sequence", "promotion_id", "artifact_id", "updated_at", "rollout_id", "changes"]),
    "rollouts": frozenset(
        [
            "status",
            "step",
            "weight",
            "looks",
            "frozen",
            "reason",
            "step_started_at",
            "heard_at",
            "looked_at",
            "updated_at",
            "ended_at",
        ]
    ),
}
_TABLES = {table.name: table for table in STATE_TABLES}


def rows_of(told: Any, values: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the rows an event tells of, in the order to write them and the types of their columns.

    Args:
        told: the `rows` of the payload: table -> column -> value.
        values: digest -> bytes of the values that stand in it by digest.

    Raises:
        EvidenceBroken: at `rows`; they are not rows of these tables.
    """
    if not isinstance(told, dict) or not told.keys() <= _TABLES.keys():
        raise EvidenceBroken("rows", "they are not of tables that a registry has.")
    return {table.name: _typed_row(table, told[table.name], values) for table in STATE_TABLES if table.name in told}


def restore(tx: Connection, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the rows of one event: new ones, and of known ones what may change.

    Raises:
        EvidenceBroken: at the row; the event changes what never changes. What the database itself refuses it raises itself.
    """
    for name, row in rows.items():
        table = _TABLES[name]
        if tx.execute(_statement(table), row).first() is None:
            key = "/".join(str(row[column.name]) for column in table.primary_key.columns)
            raise EvidenceBroken(f"{name} {key}", "an event tells of it once more, with something else in what never changes.")


@lru_cache
def _statement(table: Table) -> Executable:
    new, primary = insert(table), list(table.primary_key.columns)
    changing = CHANGING.get(table.name, frozenset())
    if not changing:
        return new.on_conflict_do_nothing(index_elements=primary).returning(*primary)
    same = and_(
        *(_as_text(column).is_not_distinct_from(_as_text(new.excluded[column.name])) for column in table.c if column.name not in changing)
    )
    changed = {name: new.excluded[name] for name in changing}
    return new.on_conflict_do_update(index_elements=primary, set_=changed, where=same).returning(*primary)


def _as_text(column: Any) -> Any:
    return cast(column, Text)


def _typed_row(table: Table, told: Any, values: Mapping[str, bytes]) -> dict[str, Any]:
    if not isinstance(told, dict) or not told.keys() <= set(table.c.keys()):
        raise EvidenceBroken("rows", f"that of {table.name} has other columns than the table.")
    try:
        row = {column.name: _typed(column, told.get(column.name), values) for column in table.c}
        faithful = snapshot({name: row[name] for name in told}) == told
    except (AttributeError, BadInput, KeyError, TypeError, ValueError) as error:
        raise EvidenceBroken("rows", f"that of {table.name} holds what no row can ({type(error).__name__}).") from None
    if not faithful:
        raise EvidenceBroken("rows", f"that of {table.name} is not written the one way a row is.")
    return row


def _typed(column: Column[Any], told: Any, values: Mapping[str, bytes]) -> Any:
    if told is None:
        return None
    if isinstance(told, dict):
        data = values[told["sha256"]]
        return data if isinstance(column.type, LargeBinary) else data.decode()
    if isinstance(column.type, LargeBinary):
        raise TypeError("bytes stand in an event by their digest")
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(told)
    return UUID(told) if isinstance(column.type, Uuid) else told
