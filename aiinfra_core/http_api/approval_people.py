"""Who did what on the way of a promotion, and who is kept apart from whom: what an approver and an auditor look for first."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiinfra_core.awaiting import Awaited
from aiinfra_core.domain.artifact import Evaluation, EvaluationKind
from aiinfra_core.domain.promotion import Part, Promotion
from aiinfra_core.registry.promotion_story import Story

_DID = {
    Part.TRAINER: "trained it",
    Part.REGISTRAR: "registered it",
    Part.EVALUATOR: "evaluated it",
    Part.REQUESTER: "asked for it",
}
_Had = tuple[str, str | None, datetime | None]
"""A part, who had it and when."""


def people(story: Story, found: Awaited, judged: Evaluation | None) -> list[dict[str, Any]]:
    """Return each part in the promotion's way, who had it and when, and which other parts the same person had."""
    promotion, artifact, job = story.known.promotion, story.known.artifact, story.job
    parts: list[_Had] = [
        ("trained", job.requested_by if job else None, job.finished_at if job else None),
        ("registered", artifact.registered_by, artifact.created_at),
        _scored(promotion, judged),
        ("requested", promotion.requested_by, promotion.created_at),
        *(("approved", one.given.approval.approver, one.given.approval.created_at) for one in found.approvals if one.objection is None),
    ]
    asked_by = {"requested": promotion.asked_by}
    return [
        {"part": part, "who": who or "nobody known", "at": at, "by": asked_by.get(part), "also": _also(part, who, parts)}
        for part, who, at in parts
    ]


def kept_apart(parts: Sequence[Part]) -> str:
    """Return the parts in words, as what somebody did."""
    return " or ".join(_DID[part] for part in parts if part is not Part.REQUESTER)


# A claim belongs to whoever asks; one that was refused is not recorded on its own.
def _scored(promotion: Promotion, judged: Evaluation | None) -> _Had:
    if promotion.evaluation_kind is EvaluationKind.CLAIMED:
        return "claimed its scores", promotion.requested_by, judged.created_at if judged else promotion.created_at
    return "evaluated", judged.recorded_by if judged else None, judged.created_at if judged else None


def _also(part: str, who: str | None, parts: Sequence[_Had]) -> str:
    others = dict.fromkeys(name for name, one, _ in parts if one == who and name != part)
    return f"also {', '.join(others)}" if who and others else ""
