"""What a policy sees of a rollout that is asked for, of one that is overridden and of those that came to nothing, and what it refuses."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiinfra_core import awaiting, database, deciding, promoting, rolling_back, rolling_out
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import Action, RollbackRequest, Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.http_api import approval_page
from aiinfra_core.policy import files
from aiinfra_core.registry import past_promotions, policy_decisions, policy_inputs
from aiinfra_core.registry.past_promotions import Which
from aiinfra_core.rules import rollout_views
from aiinfra_core.settings import Settings
from tests.simulators import approvers, kept_rollouts, policies
from tests.simulators.approvers import registered
from tests.simulators.command_line import Run, installation, run
from tests.simulators.open_rollouts import ERRORS, SPEC, WORSE, begun, now, observe, promoted, promotion_of
from tests.simulators.open_rollouts import rolling_out as rollout_of

__all__ = ["installation", "run"]

AT_ONCE = RolloutSpec(weights=(100,))
HEAD = 'name: ours\nversion: "1"\nanswers: {allow: fine, deny: not-fine}\nrules:\n'
LOOKS = f"{HEAD}  - {{id: looks, expression: overrides == null || tries >= 0 || rollout == null, reason: never}}\n"
HAS_LIMITS = f"""{HEAD}
  - {{id: not-too-often, expression: tries < 2, reason: "{{tries}} times is enough."}}
  - {{id: not-after-evidence, expression: overrides == null, reason: "{{overrides.rollout}} said: {{overrides.reason}}"}}
"""


@pytest.fixture
def looking(settings: Settings, tmp_path: Path) -> Settings:
    """Give settings under a policy that looks at all there is to see of rollouts."""
    return policies.under(settings, tmp_path, LOOKS)


def _again(settings: Settings, request_id: str, **more: Any) -> Promotion:
    """Ask for the challenger's bytes again."""
    return promoted(settings, registered(settings, "rainfall-challenger"), request_id=request_id, **more)


def _seen(settings: Settings, promotion: Promotion | UUID) -> dict[str, Any]:
    """Return what the rules saw when a promotion was asked for."""
    with database.autocommit(settings) as connection:
        kept = policy_decisions.of_promotion(connection, promotion if isinstance(promotion, UUID) else promotion.id)
    return dict(kept[0].inputs or {})


def _sent_back(settings: Settings) -> Rollout:
    """Have evidence send a challenger back."""
    rollout = begun(settings)
    observe(settings, rollout, WORSE)
    rolling_out.look_at(settings, rollout.id)
    ended = now(settings, rollout)
    assert ended.status is RolloutStatus.ROLLED_BACK
    return ended


def test_a_policy_can_refuse_a_latency_that_every_answer_is_above(settings: Settings, tmp_path: Path) -> None:
    strict = files.read(files.policies_folder() / "strict.yaml")[0]
    (rule,) = (one for one in strict.environments["prod"].rules if one.id == "rollout-latency-by-the-champion")
    ours = policies.under(settings, tmp_path, f"{HEAD}  - {{id: {rule.id}, expression: '{rule.expression.strip()}', reason: no}}\n")
    promoted(ours, registered(ours, "champion"))
    vacuous = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003, seconds=0.001)
    spec = RolloutSpec(weights=(5, 100), bake_minutes=0, signals=(ERRORS, vacuous))
    refused = promoted(ours, registered(ours, "challenger"), rollout=spec)
    assert (refused.status, refused.decision and refused.decision.rule_id) == (PromotionStatus.REJECTED, rule.id)
    frozen = spec.model_copy(update={"signals": (ERRORS, vacuous.model_copy(update={"seconds": None}))})
    accepted = promoted(ours, registered(ours, "challenger"), rollout=frozen, request_id="measured-of-the-champion")
    assert accepted.status is PromotionStatus.ROLLING_OUT


def test_rules_see_whether_it_is_the_operators_own_spec(looking: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "rollouts.yaml").write_text("environments:\n  prod: {weights: [10, 100], bake_minutes: 0}\n")
    ours = looking.model_copy(update={"rollouts": file})
    assert _seen(ours, promoted(ours, registered(ours, "champion")))["rollout"] is None
    theirs = RolloutSpec(weights=(10, 100), bake_minutes=0)
    for content, asked, operators in (
        ("a", None, True),
        ("b", theirs, True),
        ("c", theirs.model_copy(update={"salt": "chosen-by-me"}), False),
        ("d", SPEC, False),
    ):
        promotion = promoted(ours, registered(ours, content), rollout=asked)
        assert _seen(ours, promotion)["rollout"] == rollout_views.rollout(promotion.rollout, from_operator=operators)
        rolling_out.order(ours, rollout_of(ours, promotion).id, Action.ABORT, reason="next", ordered_by="olga")


def test_rules_see_what_is_overridden_why_it_was_sent_back_and_how_often_it_was_tried(looking: Settings) -> None:
    bad = _sent_back(looking)
    assert bad.ended_at is not None
    first = _seen(looking, promotion_of(looking, bad))
    assert (first["overrides"], first["tries"]) == (None, 0)
    seen = _seen(looking, _again(looking, "again", rollout=SPEC, overrides=bad.id))
    assert seen["overrides"] == {"rollout": str(bad.id), "reason": bad.reason, "endedAt": timestamp(bad.ended_at)}
    assert seen["tries"] == 1
    assert "errors" in (bad.reason or "")


def test_what_was_overridden_and_tried_by_then_is_seen_again_of_the_past(looking: Settings) -> None:
    bad = _sent_back(looking)
    again = _again(looking, "again", rollout=SPEC, overrides=bad.id)
    rolling_out.order(looking, rollout_of(looking, again).id, Action.ABORT, reason="not yet", ordered_by="olga")
    with database.autocommit(looking) as connection:
        pasts = past_promotions.page(connection, Which(), (datetime.min.replace(tzinfo=UTC), UUID(int=0)), 10)
        then = policy_inputs.gather(connection, [past.case for past in pasts], ["overrides", "tries"], looking.environments)
    assert [one["tries"] for one in then] == [0, 0, 1]
    for past, seen in zip(pasts, then, strict=True):
        kept = _seen(looking, past.id)
        assert {name: seen[name] for name in ("rollout", "overrides", "tries")} == {
            name: kept[name] for name in ("rollout", "overrides", "tries")
        }


def test_every_rollout_that_came_to_nothing_is_a_try_whoever_ended_it_and_only_there(looking: Settings, tmp_path: Path) -> None:
    rollout = begun(looking)
    for number, action in enumerate((Action.ROLLBACK, Action.ABORT), 1):
        rolling_out.order(looking, rollout.id, action, reason="looks bad", ordered_by="paul")
        asked = _again(looking, f"try-{number}", rollout=SPEC)
        rollout = rollout_of(looking, asked)
        assert _seen(looking, asked)["tries"] == number
    rolling_out.order(looking, rollout.id, Action.ABORT, reason="looks bad", ordered_by="paul")
    assert _seen(looking, _again(looking, "elsewhere", environment="staging"))["tries"] == 0
    assert _seen(looking, promoted(looking, registered(looking, "other-bytes"), rollout=SPEC))["tries"] == 0
    case = deciding.preview(policies.under(looking, tmp_path, HAS_LIMITS), "rainfall:2", "prod", "paul")[2]
    assert (case.decision.allowed, case.decision.rule_id, case.decision.reason) == (False, "not-too-often", "3 times is enough.")


def test_what_came_to_its_end_is_no_try(looking: Settings) -> None:
    rollout = begun(looking)
    for _ in SPEC.steps[:-1]:
        kept_rollouts.order(looking, rollout, Action.ADVANCE)
    assert now(looking, rollout).status is RolloutStatus.COMPLETED
    promoted(looking, registered(looking, "third"))
    assert _seen(looking, _again(looking, "back-again", rollout=SPEC))["tries"] == 0


def test_a_policy_may_refuse_what_evidence_sent_back(settings: Settings, tmp_path: Path) -> None:
    bad = _sent_back(settings)
    refused = _again(policies.under(settings, tmp_path, HAS_LIMITS), "again", rollout=SPEC, overrides=bad.id)
    assert (refused.status, refused.decision and refused.decision.rule_id) == (PromotionStatus.REJECTED, "not-after-evidence")
    assert (refused.reason or "").startswith(f"{bad.id} said: errors: the challenger is worse than 1.25 times the champion")


@pytest.mark.parametrize("rollout", [AT_ONCE, None])
def test_bytes_that_evidence_sent_back_do_not_get_all_traffic_at_once(settings: Settings, rollout: RolloutSpec | None) -> None:
    bad = _sent_back(settings)
    with pytest.raises(BadInput, match=rf"cannot get all traffic at once; .* --override {bad.id} --weights 5,25,50,100"):
        _again(settings, "at-once", rollout=rollout, overrides=bad.id)
    assert _again(settings, "at-once", rollout=SPEC, overrides=bad.id).status is PromotionStatus.ROLLING_OUT


def test_where_a_rollout_is_required_going_back_is_still_at_once(settings: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "rollouts.yaml").write_text("environments:\n  prod: {required: true, weights: [10, 100]}\n")
    ours = settings.model_copy(update={"rollouts": file})
    promoted(ours, registered(ours, "champion"))
    promoted(settings, registered(settings, "second"))
    with pytest.raises(BadInput, match=r"environments\.prod\.required"):
        promoted(ours, registered(ours, "third"), rollout=AT_ONCE)
    assert promoted(ours, registered(ours, "third"), environment="staging", rollout=AT_ONCE).status is PromotionStatus.APPLIED
    request = RollbackRequest(model="rainfall", environment="prod", reason="it answers nonsense", requested_by="olga")
    assert rolling_back.roll_back(ours, request).status is PromotionStatus.APPLIED
    assert promoted(ours, registered(ours, "third"), request_id="as-it-says").status is PromotionStatus.ROLLING_OUT


def test_whoever_is_to_agree_is_shown_what_was_sent_back_and_how_often_it_was_tried(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    bad = _sent_back(installation)
    asking = approvers.settings_with_approvers(installation, tmp_path / "trust")
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(asking.trust_root))
    challenger = registered(asking, "rainfall-challenger")
    request = PromotionRequest(
        artifact=str(challenger.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul", rollout=SPEC, overrides=bad.id
    )
    waits = promoting.promote(asking, request)
    assert waits.status is PromotionStatus.PENDING_APPROVAL
    found = run(f"approve {waits.id} --json").json
    assert (found["sentBack"]["rollout"], found["sentBack"]["reason"], found["tries"]) == (str(bad.id), bad.reason, 1)
    page = re.sub(r"<[^>]+>", " ", approval_page.page(*awaiting.story_of(asking, waits.id), None))
    for shown in (page, run(f"approve {waits.id}").out):
        assert re.search(rf"sent back before\s+by rollout {bad.id} at 20.* UTC: errors: the challenger is worse", shown)
        assert re.search(r"tried before\s+1 rollout of these bytes came to nothing there", shown)
