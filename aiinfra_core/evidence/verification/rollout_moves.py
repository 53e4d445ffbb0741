"""Step 14: the entries of one rollout, one after the other: each is what its look says or what somebody ordered, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.canary import Seen, was_heard
from aiinfra_core.domain.actor import same_person_key
from aiinfra_core.domain.rollout import Look, Verdict
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import trust
from aiinfra_core.evidence.kept_rows import differences
from aiinfra_core.evidence.rollout_predicates import RolloutOrder
from aiinfra_core.evidence.verification.latencies import Frozen, frozen_after
from aiinfra_core.evidence.verification.log import Entry, Row
from aiinfra_core.evidence.verification.policies import document
from aiinfra_core.evidence.verification.records import agree, same_subject
from aiinfra_core.evidence.verification.story import Manifest, Story

_FIXED = ("id", "promotion_id", "environment", "model", "champion", "sequence", "spec", "spec_digest", "salt", "created_at")
_MOVING = ("status", "step", "weight", "looks", "step_started_at", "ended_at")


@dataclass
class Rolled:
    """A rollout as far as it was followed: its row by now, its looks with what each was told, and for each step who ended it.

    That is the person who ordered it, None where evidence did; `frozen` holds, by signal, the seconds above which a latency is bad.
    """

    story: Story
    manifest: Manifest
    spec: RolloutSpec
    row: Row
    looks: list[tuple[Seen, Look]] = field(default_factory=list)
    advanced_by: list[str | None] = field(default_factory=list)
    frozen: Frozen = field(default_factory=dict)


def follow(rolled: Rolled, entry: Entry) -> None:
    """Check that an entry is the next move of a rollout, and go on from there.

    Raises:
        EvidenceBroken: at `rollout` or `log row`; it is not.
    """
    before, after = rolled.row, entry.row("rollouts")
    agree(entry.place, after, {name: before.get(name) for name in _FIXED})
    if before.get("ended_at") is not None or not str(before.get("updated_at")) < str(after.get("updated_at")):
        raise EvidenceBroken("rollout", f"{entry.place} moves a rollout that was over, or back in time.")
    look, order = entry.row("canary_looks"), entry.row("rollout_orders")
    if bool(look) == bool(order):
        raise EvidenceBroken("rollout", f"{entry.place} holds neither a look nor an order, or both.")
    event_type, changes = _by_look(rolled, entry, look) if look else _by_order(rolled, entry, order)
    agree(entry.place, after, {name: before.get(name) for name in _MOVING} | changes)
    frozen = rolled.story.value(after.get("frozen"))
    if (canonical_json.loads(frozen, what="What is frozen") if frozen else {}) != rolled.frozen:
        raise EvidenceBroken("rollout", f"frozen in {entry.place} is not what the looks measured.")
    if entry.event_type != event_type:
        raise EvidenceBroken("rollout", f"{entry.place} is a {entry.event_type[:40]} where a {event_type} follows.")
    rolled.row = after


def _by_look(rolled: Rolled, entry: Entry, row: Row) -> tuple[str, dict[str, Any]]:
    """Take a look in; return the event that has to tell of it and what it changes."""
    before = rolled.row
    agree(entry.place, row, {"rollout_id": before["id"], "number": before["looks"] + 1})
    look = _look(rolled.story, entry, row)
    seen = Seen(
        number=look.number,
        step=before["step"],
        at=look.created_at,
        created_at=_moment(before["created_at"]),
        step_started_at=_moment(before["step_started_at"]),
        heard_at=_moment(before["heard_at"]),
        paused=before["status"] == "paused",
    )
    rolled.looks.append((seen, look))
    rolled.frozen = frozen_after(rolled.spec, rolled.frozen, look)
    changes: dict[str, Any] = {"looks": look.number}
    match look.verdict:
        case Verdict.ADVANCE:
            rolled.advanced_by.append(None)
            event_type, more = _next_step(rolled, entry)
            return event_type, changes | more
        case Verdict.HOLD:
            heard_at = row["created_at"] if was_heard(look) else before["heard_at"]
            return "rollout.held", changes | {"heard_at": heard_at}
    raise EvidenceBroken("rollout", f"{entry.place} sends back what was applied later.")


def _by_order(rolled: Rolled, entry: Entry, row: Row) -> tuple[str, dict[str, Any]]:
    """Check that what was ordered was signed; return the event that has to tell of it and what it changes."""
    claim, said = rolled.story.claim(str(row.get("attestation")), RolloutOrder)
    different = differences(row, said)
    if different or rolled.story.taken_in[claim.digest].seq != entry.seq:
        raise EvidenceBroken("rollout", f"{', '.join(different) or 'the order'} in {entry.place} is not what was signed.")
    place = (said.rollout_id, said.model, said.environment, said.manifest)
    manifest = rolled.manifest
    if place != (rolled.row["id"], manifest.model, manifest.said.environment, manifest.claim.digest):
        raise EvidenceBroken("rollout", f"what was ordered in {entry.place} is about another rollout.")
    if said.step != rolled.row["step"]:
        raise EvidenceBroken("rollout", f"what was ordered in {entry.place} is about step {said.step + 1}, and it was at another.")
    same_subject(claim, manifest.claim.statement.subject)
    match said.action:
        case "pause":
            return "rollout.paused", {"status": "paused"}
        case "resume":
            return "rollout.resumed", {"status": "running"}
        case "advance":
            _check_apart(rolled, entry, said.ordered_by)
            rolled.advanced_by.append(said.ordered_by)
            return _next_step(rolled, entry)
    raise EvidenceBroken("rollout", f"{entry.place} ends what was applied later.")


def _check_apart(rolled: Rolled, entry: Entry, ordered_by: str) -> None:
    """Check that where people had to agree, it is not whoever asked for the promotion who skips its evidence."""
    story, manifest, applied = rolled.story, rolled.manifest, _applied_row(rolled.manifest)
    policy = document(story, manifest)
    said_by_policy = policy.asks_for(rollback=False).approvals if policy else {}
    said_by_trust = trust.threshold(story.trust, manifest.said.environment, entry.created_at)
    asked_by = {same_person_key(name) for name in (manifest.said.requested_by, applied.get("asked_by")) if isinstance(name, str)}
    if any((manifest.said.approvals_required, said_by_policy, said_by_trust)) and same_person_key(ordered_by) in asked_by:
        raise EvidenceBroken("rollout", f"what was ordered in {entry.place} skips evidence in the name of whoever asked for the promotion.")


def _applied_row(manifest: Manifest) -> Row:
    return manifest.applied.row("model_promotions") if manifest.applied else {}


def _next_step(rolled: Rolled, entry: Entry) -> tuple[str, dict[str, Any]]:
    step, at = rolled.row["step"] + 1, entry.row("rollouts").get("updated_at")
    weight = rolled.spec.steps[step]
    if weight == WHOLE:
        return "rollout.completed", {"status": "completed", "step": step, "weight": WHOLE, "ended_at": at}
    return "rollout.advanced", {"step": step, "weight": weight, "step_started_at": at, "heard_at": at}


def _look(story: Story, entry: Entry, row: Row) -> Look:
    texts = {name: story.value(row.get(name)) for name in ("readings", "judged", "reason")}
    if None in texts.values():
        raise EvidenceBroken("rollout", f"what the look in {entry.place} saw is missing.")
    read = {name: canonical_json.loads(texts[name] or "", what="A look") for name in ("readings", "judged")}
    own = {name: row[name] for name in ("number", "step", "weight", "verdict", "created_at")}
    return Look.model_validate({**own, **read, "reason": texts["reason"]})


def _moment(told: Any) -> datetime:
    return datetime.fromisoformat(str(told))
