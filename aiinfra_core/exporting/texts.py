"""The policies of an export, and the long values that rows of the log hold by digest and that whoever checks has to read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Decision, Promotion
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import policy_decisions
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.tables import STATE_TABLES, policies

LOCAL = "local"
# Table -> the columns that verification reads.
_READ = {
    "model_promotions": ("decision", "evaluation", "rollout", "rollback"),
    "rollouts": ("spec",),
    "canary_looks": ("readings", "judged", "reason"),
    "policy_decisions": ("decision", "inputs"),
    "evaluations": ("metrics", "spec"),
    "training_jobs": ("dataset_refs",),
    "artifact_scans": ("findings",),
}


def answers_to(tx: Connection, chain: Sequence[Promotion]) -> list[GateDecision]:
    """Return what each gate said about each of these promotions."""
    return [answer for one in chain for answer in policy_decisions.of_promotion(tx, one.id)]


def policies_of(tx: Connection, chain: Sequence[Promotion], answers: Sequence[GateDecision]) -> dict[str, bytes]:
    """Return digest -> text of every policy that decided.

    Raises:
        NotFound: the text of one is not kept here.
    """
    decisions = [*(one.decision for one in chain if one.decision), *(one.decision for one in answers)]
    named = {one.policy_digest: one for one in decisions if one.policy_digest and one.source == LOCAL}
    rows = tx.execute(select(policies.c.digest, policies.c.document).where(policies.c.digest.in_(list(named)))).all()
    kept = {row.digest: row.document.encode() for row in rows}
    return {digest: kept.get(digest) or _within(decision) for digest, decision in named.items()}


def long_values(tx: Connection, leaves: Iterable[bytes]) -> dict[str, bytes]:
    """Return digest -> bytes of the long values in these entries."""
    found: dict[str, bytes] = {}
    for leaf in leaves:
        rows = canonical_json.loads(canonical_json.loads(leaf)["payload"]).get("rows", {})
        for table, columns in _READ.items():
            for column in columns:
                told = rows.get(table, {}).get(column)
                if isinstance(told, dict) and told["sha256"] not in found:
                    found |= _value(tx, table, column, rows[table], told["sha256"])
    return found


def _value(tx: Connection, table_name: str, column: str, row: Mapping[str, Any], digest: str) -> dict[str, bytes]:
    table = next(one for one in STATE_TABLES if one.name == table_name)
    text = tx.execute(select(table.c[column]).where(table.c.id == row["id"])).scalar_one_or_none()
    return {} if text is None or sha256_hex(text.encode()) != digest else {digest: text.encode()}


def _within(decision: Decision) -> bytes:
    """Return the text of a policy of the time when the answer held it."""
    text = canonical_json.dumps(decision.answer)
    if sha256_hex(text) != decision.policy_digest:
        raise NotFound(f"The text of the policy {decision.policy_digest} is not kept here; look with: aiinfra audit verify")
    return text
