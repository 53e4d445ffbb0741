"""Step 14: a promotion that had to earn its traffic did, look by look and order by order; and what overrides or goes back may.

Every verdict is judged once more from the counts that the log recorded with it; where counts came from an export cannot show.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiinfra_core import canary, canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.rollout import Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.kept_rows import text_digest
from aiinfra_core.evidence.rollout_predicates import RolloutOrder
from aiinfra_core.evidence.verification import rollout_moves
from aiinfra_core.evidence.verification.log import Entry, Row
from aiinfra_core.evidence.verification.records import Registered, agree
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.rollout_moves import Rolled
from aiinfra_core.evidence.verification.story import Manifest, Story

COMPLETED, WENT_BACK = "rollout.completed", "rollback.applied"


def check_rollouts(story: Story, registered: Mapping[str, Registered], step: Step) -> None:
    """Check the rollout of each promotion that had one, every order, and what promotions override or go back from (14)."""
    told = _by_rollout(story)
    rolled: list[Rolled] = []
    others = 0
    for manifest in story.manifests():
        with step.at(manifest.claim.place):
            found = _check_promotion(story, manifest, told)
            rolled += [found] if found else []
            others += _check_override(story, manifest, registered) + _check_rollback(story, manifest, registered)
    known = {manifest.claim.digest for manifest in story.manifests()}
    for claim, order in story.saying(RolloutOrder):
        with step.at(claim.place):
            if order.manifest not in known or story.taken_in[claim.digest].row("rollouts").get("id") != order.rollout_id:
                raise EvidenceBroken("rollout", "it is about no rollout here.")
    step.found = _in_words(rolled)
    if not rolled and not others:
        step.does_not_apply("no promotion in this export was rolled out, overrides a rollout or goes back")


def _in_words(rolled: Sequence[Rolled]) -> str:
    """Return what was found of rollouts; of one that no look advanced it is not said that it earned anything."""
    earned, looks = sum(None in one.advanced_by for one in rolled), sum(len(one.looks) for one in rolled)
    ended = [by for one in rolled for by in one.advanced_by]
    parts = [
        f"promotions earned their traffic ({earned})" if earned else "",
        f"promotions got their traffic by order alone ({len(rolled) - earned})" if earned < len(rolled) else "",
        f"each verdict follows once more from its counts (looks: {looks})" if looks else "",
        steps_in_words(ended),
    ]
    return "; ".join(filter(None, parts)) or "each override and each way back is to what it names"


def steps_in_words(ended: Sequence[str | None]) -> str:
    """Return how many steps there were, and who ordered which number of them; None stands for one that evidence ended."""
    people = sorted({by for by in ended if by is not None})
    by_people = sum(by is not None for by in ended)
    return f"steps: {len(ended)}, of which {by_people} by a person: {', '.join(people)}" if people else ""


def _by_rollout(story: Story) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for seq in sorted(story.log.entries):
        if isinstance(rollout_id := story.log.entries[seq].row("rollouts").get("id"), str):
            found.setdefault(rollout_id, []).append(story.log.entries[seq])
    return found


def _check_promotion(story: Story, manifest: Manifest, told: Mapping[str, list[Entry]]) -> Rolled | None:
    """Check how a promotion came to its traffic; return its rollout as it was followed, None where it got all of it at once."""
    row, signed = _applied_row(manifest), manifest.said.rollout_digest
    if text_digest(row.get("rollout")) != signed:
        raise EvidenceBroken("rollout", "the log has another rollout for it than its manifest names.")
    own = [entries for entries in told.values() if entries[0].row("rollouts").get("promotion_id") == manifest.said.promotion_id]
    spec = None if signed is None else _spec(story, row, signed)
    if spec is None or spec.at_once:
        if own or manifest.began:
            raise EvidenceBroken("rollout", "it got all traffic at once, and there is a rollout of it.")
        return None
    if len(own) != 1:
        raise EvidenceBroken("rollout", "it had to earn its traffic, and its rollout is missing here.")
    return _check_rollout(story, manifest, spec, own[0])


def _applied_row(manifest: Manifest) -> Row:
    return manifest.applied.row("model_promotions") if manifest.applied else {}


def _spec(story: Story, row: Row, digest: str) -> RolloutSpec:
    text = story.value(row.get("rollout"))
    if text is None or sha256_hex(text.encode()) != digest:
        raise EvidenceBroken("rollout", "the spec of its rollout is missing.")
    try:
        return RolloutSpec.model_validate(canonical_json.loads(text, what="The rollout"))
    except ValueError:
        raise EvidenceBroken("rollout", "the spec of its rollout is none that this version can judge by.") from None


def _check_rollout(story: Story, manifest: Manifest, spec: RolloutSpec, entries: list[Entry]) -> Rolled:
    first, last = entries[0], entries[-1]
    _check_start(story, manifest, spec, first)
    rolled = Rolled(story, manifest, spec, first.row("rollouts"))
    for entry in entries[1:]:
        rollout_moves.follow(rolled, entry)
    if last.event_type != COMPLETED or manifest.applied is None or last.seq >= manifest.applied.seq:
        raise EvidenceBroken("rollout", "it was applied, and no entry before that completed its rollout.")
    if differences := canary.recompute(spec, rolled.looks):
        raise EvidenceBroken("rollout", f"judged again {differences[0]}.")
    return rolled


def _check_start(story: Story, manifest: Manifest, spec: RolloutSpec, first: Entry) -> None:
    before = story.manifest(manifest.said.follows)
    row = first.row("rollouts")
    expected = {
        "environment": manifest.said.environment,
        "model": manifest.model,
        "champion": before.said.promotion_id if before else None,
        "sequence": manifest.said.sequence - 1,
        "spec_digest": manifest.said.rollout_digest,
        "status": "running",
        "step": 0,
        "weight": spec.steps[0],
        "looks": 0,
        "frozen": None,
        "ended_at": None,
        **dict.fromkeys(("step_started_at", "heard_at", "updated_at"), row.get("created_at")),
        **({"salt": spec.salt} if spec.salt else {}),
    }
    agree(first.place, row, expected)
    promotion = {"id": manifest.said.promotion_id, "status": "rolling_out", "manifest": manifest.claim.digest}
    agree(first.place, first.row("model_promotions"), promotion)
    if first != manifest.began or text_digest(row.get("spec")) != manifest.said.rollout_digest:
        raise EvidenceBroken("rollout", f"{first.place} starts no rollout by the spec that its manifest names.")
    if first.seq <= story.taken_in[manifest.claim.digest].seq:
        raise EvidenceBroken("rollout", "its rollout began before its manifest was signed.")


def _check_override(story: Story, manifest: Manifest, registered: Mapping[str, Registered]) -> bool:
    """Check that what a promotion overrides is a rollout that evidence had sent back, of the same bytes, in the same place."""
    overrides = manifest.said.overrides
    if _applied_row(manifest).get("overrides") != overrides:
        raise EvidenceBroken("rollout", "the log has it override another rollout than its manifest names.")
    if overrides is None:
        return False
    ends = [one for one in story.log.entries.values() if one.event_type == WENT_BACK and one.row("rollouts").get("id") == overrides]
    if not ends or ends[0].seq >= story.taken_in[manifest.claim.digest].seq:
        raise EvidenceBroken("rollout", "the rollout that it overrides was not sent back before it, as far as is shown here.")
    (end,) = ends
    agree(end.place, end.row("rollouts"), {"environment": manifest.said.environment, "model": manifest.model, "status": "rolled_back"})
    if end.row("canary_looks").get("verdict") != Verdict.ROLLBACK:
        raise EvidenceBroken("rollout", "the rollout that it overrides was not sent back by evidence.")
    sent_back = end.row("model_promotions").get("artifact_id")
    bytes_of = {one.predicate.artifact_id: one.subject for one in registered.values()}
    if bytes_of.get(str(sent_back)) != manifest.claim.statement.subject:
        raise EvidenceBroken("rollout", "the rollout that it overrides was of other bytes.")
    return True


def _check_rollback(story: Story, manifest: Manifest, registered: Mapping[str, Registered]) -> bool:
    """Check that what goes back replaces what was current, and goes to what had been applied there before."""
    said, why = manifest.said, _rollback(story, manifest)
    if said.rollback != (said.replaces is not None) or why.get("replaces") != said.replaces:
        raise EvidenceBroken("rollout", "the log has it go back from another promotion than its manifest names.")
    if said.replaces is None:
        return False
    if said.rollout_digest is not None:
        raise EvidenceBroken("rollout", "it goes back, and what goes back has no rollout.")
    chain = [one for one in story.manifests() if (one.model, one.said.environment) == (manifest.model, said.environment)]
    earlier = {one.said.sequence: one for one in chain if one.said.sequence < said.sequence}
    replaced = earlier.pop(said.sequence - 1, None)
    if replaced is None or replaced.said.promotion_id != said.replaces:
        raise EvidenceBroken("rollout", "what it goes back from was not current.")
    if _artifact(manifest, registered) not in {_artifact(one, registered) for one in earlier.values()}:
        raise EvidenceBroken("rollout", "it goes back to what had not been applied there before.")
    _check_replaced(story, manifest, said.replaces)
    return True


def _rollback(story: Story, manifest: Manifest) -> dict[str, Any]:
    text = story.value(_applied_row(manifest).get("rollback"))
    return canonical_json.loads(text, what="The rollback") if text else {}


def _check_replaced(story: Story, manifest: Manifest, replaced: str) -> None:
    entry = story.move(WENT_BACK, manifest.claim.digest)
    if entry is None:
        raise EvidenceBroken("rollout", "no entry here says that what it replaces was rolled back.")
    agree(entry.place, entry.row("model_promotions"), {"id": replaced, "status": "rolled_back"})


def _artifact(manifest: Manifest, registered: Mapping[str, Registered]) -> str | None:
    found: Iterable[str] = (registered[digest].predicate.artifact_id for digest in manifest.inputs if digest in registered)
    return next(iter(found), None)
