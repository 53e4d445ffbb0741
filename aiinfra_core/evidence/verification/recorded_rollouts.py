"""Step 7: what a policy's rules saw of rollouts: by what traffic is earned, what is overridden, and how often the same bytes were tried.

Whether the operator's file said the same (`fromOperator`) an export cannot show, nor that there were no more tries than it has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.domain.rollout import OPEN, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.evidence.verification.log import Entry
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.story import Manifest, Story
from aiinfra_core.rules import rollout_views

_NO_TRY = {*OPEN, RolloutStatus.COMPLETED}


def is_rollout(story: Story, manifest: Manifest, said: Mapping[str, Any] | None) -> bool:
    """Say whether this is the rollout that a manifest names."""
    row = manifest.applied.row("model_promotions") if manifest.applied else {}
    text = story.value(row.get("rollout"))
    try:
        spec = RolloutSpec(**canonical_json.loads(text)) if text else None
    except (TypeError, ValueError):
        return False
    shown = rollout_views.rollout(spec, from_operator=said is not None and said.get("fromOperator") is True)
    return (spec.digest() if spec else None) == manifest.said.rollout_digest and shown == said


def is_overridden(story: Story, manifest: Manifest, said: Mapping[str, Any] | None) -> bool:
    """Say whether this is the rollout that a manifest overrides, as it ended."""
    overrides = manifest.said.overrides
    if said is None or overrides is None:
        return said is None and overrides is None
    ends = (entry.row("rollouts") for entry in _ends(story) if entry.row("rollouts").get("id") == overrides)
    return any(said == rollout_views.overrides(overrides, story.value(row.get("reason")), row["ended_at"]) for row in ends)


def are_tries(story: Story, manifest: Manifest, registered: Mapping[str, Registered], entry: Entry, said: object) -> bool:
    """Say whether there were so many tries of the same bytes before an entry, as far as is shown: no fewer than those in the log here."""
    subject, place = manifest.claim.statement.subject, (manifest.said.environment, manifest.model)
    same = {one.predicate.artifact_id for one in registered.values() if one.subject == subject}
    tried = {
        row["id"]
        for end in _ends(story)
        if end.seq < entry.seq
        and ((row := end.row("rollouts")).get("environment"), row.get("model")) == place
        and end.row("model_promotions").get("artifact_id") in same
    }
    return isinstance(said, int) and not isinstance(said, bool) and said >= len(tried)


def _ends(story: Story) -> Iterator[Entry]:
    """Yield the entries that ended a rollout without giving the challenger all traffic."""
    for entry in story.log.entries.values():
        status = entry.row("rollouts").get("status")
        if status is not None and status not in _NO_TRY:
            yield entry
