"""Approvals of what earned its traffic: they count at the moment its rollout began, for that is when they were used."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiinfra_core import awaiting, database, evaluating, promoting
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus, Stage
from aiinfra_core.domain.rollout import Rollout, RolloutStatus, Verdict
from aiinfra_core.errors import Conflict, EvidenceBroken
from aiinfra_core.evidence import trust_editing
from aiinfra_core.evidence.verification import policies, records, sequence
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.registry import dossier, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.trusting import changing
from tests.integration.test_export_approvals import APPROVERS, PAST, _asking, _under
from tests.simulators import approvers, exports
from tests.simulators.evaluation_script import evaluation_spec
from tests.simulators.exports import TARGETS_KEY, checked, exported, promoted, trained
from tests.simulators.kept_rollouts import SPEC, look, observe

ASKED = {"security": 1}
FUTURE = datetime(2200, 1, 1, tzinfo=UTC)
MEASURED = 'at["--metrics"].write_text(json.dumps({"quality": 0.9}))'


def _begun(place: Settings, by: Iterable[str] = (), **said: object) -> tuple[UUID, Rollout]:
    """Roll a second version of `rainfall` out in prod, which these people approved before, with changes to what they say."""
    promoted(place, trained(place))
    artifact = trained(place, seed=2)
    request = PromotionRequest(
        artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul", rollout=SPEC
    )
    promotion_id = promoting.request_promotion(place, request)
    promoting.decide(place, promotion_id)
    promoting.sign_manifest(place, promotion_id)
    for name in by:
        exports.approve(place, artifact, promotion_id, name, APPROVERS[name], dict(said))
    assert promoting.apply_promotion(place, promotion_id).status is PromotionStatus.ROLLING_OUT
    return promotion_id, _rollout_of(place, promotion_id)


def _rollout_of(place: Settings, promotion_id: UUID) -> Rollout:
    with database.autocommit(place) as connection:
        rollout = rollouts.of_promotion(connection, promotion_id)
    assert rollout is not None
    return rollout


def _completed(place: Settings, rollout: Rollout, after: timedelta = timedelta()) -> None:
    """Let it earn all traffic, so long after it began."""
    at = max(datetime.now(UTC), rollout.created_at + after)
    for _ in SPEC.steps[:-1]:
        observe(place, rollout, champion=0.02, challenger=0.02, at=at)
        assert look(place, rollout, at).verdict is Verdict.ADVANCE
    assert _rollout_of(place, rollout.promotion_id).status is RolloutStatus.COMPLETED


def _approval(place: Settings, promotion_id: UUID) -> tuple[str | None, tuple[str, ...]]:
    (given,) = awaiting.approvals_of(place, promotion_id).approvals
    return given.objection, given.counts_as


def test_an_approval_that_expires_while_it_rolls_out_counts_as_it_did_when_it_was_used(settings: Settings, tmp_path: Path) -> None:
    place = _asking(settings)
    promotion_id, rollout = _begun(place, ["sam"], expires_at=datetime.now(UTC) + timedelta(minutes=1))
    _completed(place, rollout, timedelta(minutes=2))
    assert _under(place, exported(place, "rainfall@prod", tmp_path / "out"), ASKED, rollout.created_at) == []
    assert _approval(place, promotion_id) == (None, ("security",))


def test_a_threshold_that_begins_while_it_rolls_out_says_nothing_about_it(settings: Settings, tmp_path: Path) -> None:
    place = _asking(settings)
    _, rollout = _begun(place)
    assert place.trust_root is not None
    later = datetime.now(UTC)
    changing.change(place.trust_root.parent, lambda it: trust_editing.with_threshold(it, "prod", ASKED, later), TARGETS_KEY)
    _completed(place, rollout)
    export = exported(place, "rainfall@prod", tmp_path / "out")
    (found,) = _under(place, export, ASKED, rollout.created_at)
    assert "it lacks an approval as security" in found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"approved_at": PAST, "expires_at": PAST + timedelta(days=1)}, "was not valid when its rollout began"),
        pytest.param(
            {"approved_at": FUTURE, "expires_at": FUTURE + timedelta(days=1)},
            "was not valid when its rollout began",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_approval_that_did_not_count_when_its_rollout_began_does_not_count(
    settings: Settings, tmp_path: Path, said: dict[str, Any], why: str
) -> None:
    place = _asking(settings)
    promotion_id, rollout = _begun(place, ["sam"], **said)
    _completed(place, rollout)
    (found,) = _under(place, exported(place, "rainfall@prod", tmp_path / "out"), ASKED, rollout.created_at)
    assert f"that of sam {why}" in found
    objection, counts_as = _approval(place, promotion_id)
    assert (objection or "").startswith("it counts from")
    assert counts_as == ()


def test_an_approval_that_is_recorded_while_it_rolls_out_came_too_late(settings: Settings, tmp_path: Path) -> None:
    place = _asking(settings)
    promotion_id, rollout = _begun(place)
    exports.approve(place, _challenger(place, promotion_id), promotion_id, "sam", APPROVERS["sam"], {"approved_at": rollout.created_at})
    _completed(place, rollout)
    (found,) = _under(place, exported(place, "rainfall@prod", tmp_path / "out"), ASKED, rollout.created_at)
    assert "that of sam came after its rollout began" in found


def test_an_approval_is_not_taken_back_while_it_rolls_out_and_the_refusal_says_how_to_end_it(settings: Settings, tmp_path: Path) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust", {"prod": ASKED})
    agreed: list[Any] = []
    for content, spec in (("one", None), ("two", SPEC)):
        request = PromotionRequest(
            artifact=str(approvers.registered(place, content).id),
            environment="prod",
            evaluation={"quality": 0.9},
            requested_by="paul",
            rollout=spec,
        )
        agreed.append(approvers.agree(place, promoting.promote(place, request), "alice"))
    approval, promotion = agreed[1]
    assert promotion.status is PromotionStatus.ROLLING_OUT
    with pytest.raises(Conflict, match=r"counted when its rollout began, .* aiinfra rollout abort rainfall@prod --reason"):
        approvers.take_back(place, approval)
    with pytest.raises(Conflict, match="rollout abort rainfall@prod"):
        approvers.agree(place, promotion, "carol")
    assert _rollout_of(place, promotion.id).status is RolloutStatus.RUNNING


def test_what_takes_an_approval_back_while_it_rolls_out_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    place = _asking(settings)
    promotion_id, rollout = _begun(place, ["sam"])
    (given,) = awaiting.approvals_of(place, promotion_id).approvals
    exports.take_back(place, _challenger(place, promotion_id), promotion_id, given.attestation, "sam", APPROVERS["sam"])
    _completed(place, rollout)
    assert _under(place, exported(place, "rainfall@prod", tmp_path / "out"), ASKED, rollout.created_at) == []


def test_a_beginning_that_is_told_of_a_promotion_without_a_rollout_moves_nothing(settings: Settings, tmp_path: Path) -> None:
    place = _asking(settings)
    promotion_id, at = promoted(place, trained(place)), datetime.now(UTC)
    told = {"rollouts": {"promotion_id": str(promotion_id)}}
    with database.transaction(place) as tx:
        append(tx, event("rollout.started", at=at, actor="somebody", request_id="began", subject=str(promotion_id), rows=told))
    with pytest.raises(EvidenceBroken, match=r"step 14, rollouts: .*it got all traffic at once, and there is a rollout of it"):
        exported(place, "rainfall@prod", tmp_path / "out")


EVALUATORS_APART = """\
name: keeps-apart
version: "1"
description: One of security agrees who did not evaluate it.
answers: {allow: agreed, deny: not-agreed}
rules:
  - {id: scored, expression: evaluation.metrics.quality > 0.5, reason: "It scored {evaluation.metrics.quality}."}
approvals: {roles: {security: 1}}
separation_of_duties: {approver_is_not: [evaluator]}
"""


def _agreed(settings: Settings, folder: Path) -> tuple[Settings, Promotion]:
    """Let a promotion that waited for one of security be rolled out."""
    (policy := folder / "policy.yaml").write_text(EVALUATORS_APART)
    place = approvers.settings_with_approvers(settings, folder / "trust", {}).model_copy(update={"policy": str(policy)})
    approvers.agree(place, approvers.asked(place, approvers.registered(place)), "alice")
    artifact = approvers.registered(place, "other")
    request = PromotionRequest(
        artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul", rollout=SPEC
    )
    _, promotion = approvers.agree(place, promoting.promote(place, request), "alice")
    assert promotion.status is PromotionStatus.ROLLING_OUT
    return place, promotion


def test_whoever_approved_may_evaluate_it_while_it_rolls_out(settings: Settings, tmp_path: Path) -> None:
    place, promotion = _agreed(settings, tmp_path)
    spec = evaluation_spec(tmp_path / "code", MEASURED)
    evaluating.evaluate(place, promotion.artifact_id, spec, recorded_by="alice", on_output=print)
    _completed(place, _rollout_of(place, promotion.id))
    exported(place, "rainfall@prod", tmp_path / "out")
    assert _approval(place, promotion.id) == (None, ("security",))


def test_a_rollout_that_began_before_everybody_agreed_or_the_gate_said_yes_again_is_found(settings: Settings, tmp_path: Path) -> None:
    place, promotion = _agreed(settings, tmp_path)
    _completed(place, _rollout_of(place, promotion.id))
    export = exported(place, "rainfall@prod", tmp_path / "out")
    story = checked(export, place.trust_root or Path()).story
    assert story is not None
    registered, manifest = records.check_inputs(story, Step(8)), story.manifests()[1]
    sooner = replace(manifest, began=story.move("promotion.pending", manifest.claim.digest))
    sequence._check_moves(story, manifest, registered)
    with pytest.raises(EvidenceBroken, match=r"its rollout began, before it was approved"):
        sequence._check_moves(story, sooner, registered)
    policies._asked(story, manifest, Stage.APPLY)
    with pytest.raises(EvidenceBroken, match=r"came before its manifest was signed, or after it got traffic"):
        policies._asked(story, sooner, Stage.APPLY)


def _challenger(place: Settings, promotion_id: UUID) -> Any:
    with database.autocommit(place) as connection:
        return dossier.of_promotion(connection, promotion_id).artifact
