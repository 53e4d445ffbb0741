"""Deciding: both gates at once, each answer kept on its own, and again before what waited is applied."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiinfra_core import database, deciding, jobs, promoting, registering, verifying
from aiinfra_core.domain.promotion import Decision, Promotion, PromotionRequest, PromotionStatus, Stage
from aiinfra_core.errors import Misconfigured, RequestIdReused, Unavailable
from aiinfra_core.policy import gate
from aiinfra_core.registry import dossier, policy_decisions, policy_inputs, promotion_moves
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.registry.policy_inputs import Case
from aiinfra_core.settings import Settings
from aiinfra_core.tables import STATE_TABLES
from tests.factories import training_spec
from tests.simulators import approvers, policies, sentinelnet
from tests.simulators.scripted_server import answers, unused_url

SAYS = {
    "yes": {"allowed": True},
    "deny": {"decision": "deny"},
    "quarantine": {"decision": "quarantine", "reason": "looks poisoned"},
    "remediate": {"decision": "remediate", "reason": "scan it first"},
}
ENDS = {
    ("yes", 0.9): PromotionStatus.APPLIED,
    ("deny", 0.9): PromotionStatus.REJECTED,
    ("quarantine", 0.9): PromotionStatus.QUARANTINED,
    ("remediate", 0.9): PromotionStatus.REMEDIATION,
    ("yes", 0.1): PromotionStatus.REJECTED,
    ("deny", 0.1): PromotionStatus.REJECTED,
    ("quarantine", 0.1): PromotionStatus.QUARANTINED,
    ("remediate", 0.1): PromotionStatus.REMEDIATION,
}


def _kept(settings: Settings, promotion: Promotion) -> list[GateDecision]:
    with database.transaction(settings) as tx:
        return policy_decisions.of_promotion(tx, promotion.id)


def _no(decision: str | None = None, *, unavailable: bool = False) -> Decision:
    return Decision(allowed=False, policy_id=None, reason="no", source="local", decision=decision, unavailable=unavailable)


def test_a_policy_that_is_named_and_a_sentinelnet_are_both_gates_and_without_either_the_default_is() -> None:
    def gates(**named: str) -> tuple[str, ...]:
        return gate.gates(Settings.model_validate({"home": "/nowhere"} | named))

    assert gates() == gates(policy="strict") == ("local",)
    assert gates(sentinel_url="http://sentinel.example") == ("sentinelnet",)
    assert gates(sentinel_url="http://sentinel.example", policy="default") == ("local", "sentinelnet")


def test_the_gravest_no_is_what_gates_say_together() -> None:
    yes = Decision(allowed=True, policy_id=None, reason="yes", source="local")
    grave = [_no("quarantine"), _no("remediate"), _no("deny"), _no(unavailable=True)]
    assert gate.together([yes, yes.model_copy(update={"source": "sentinelnet"})]) is yes
    for place, no in enumerate(grave):
        assert gate.together([yes, *reversed(grave[place:])]) is no
    assert gate.together([yes, _no()]).allowed is False


@pytest.mark.parametrize(("said", "quality"), ENDS, ids=lambda value: str(value))
def test_both_gates_have_to_say_yes_and_each_answer_is_kept(settings: Settings, tmp_path: Path, said: str, quality: float) -> None:
    with sentinelnet.serve(answers(200, SAYS[said])) as server:
        both = policies.under(settings, tmp_path).model_copy(update={"sentinel_url": server.url})
        promotion = policies.promote(both, approvers.registered(settings), quality=quality)
        assert policies.promote(both, approvers.registered(settings), quality=quality) == promotion
    assert promotion.status is ENDS[said, quality]
    local, remote = _kept(settings, promotion)
    assert (local.gate, local.decision.allowed, local.decision.policy_id) == ("local", quality == 0.9, ["not-fine", "fine"][quality == 0.9])
    assert (remote.gate, remote.decision.allowed, remote.inputs) == ("sentinelnet", said == "yes", None)
    assert promotion.decision in (local.decision, remote.decision)
    assert approvers.events(settings).count("policy.decision") == 2
    assert len(server.requests) == 1
    assert verifying.verify_history(settings).findings == []


def test_a_sentinelnet_that_is_away_is_a_no_also_where_the_policy_says_yes(settings: Settings, tmp_path: Path) -> None:
    both = policies.under(settings, tmp_path).model_copy(update={"sentinel_url": unused_url(), "sentinel_timeout_seconds": 0.3})
    promotion = policies.promote(both, approvers.registered(settings))
    assert (promotion.status, (promotion.reason or "").split()[0]) == (PromotionStatus.REJECTED, "unavailable:sentinelnet")
    assert [one.decision.allowed for one in _kept(settings, promotion)] == [True, False]


def test_a_policy_that_cannot_be_read_is_the_operators_to_mend_and_nothing_is_decided(settings: Settings, tmp_path: Path) -> None:
    artifact, wrong = approvers.registered(settings), policies.under(settings, tmp_path, "name: none\n")
    with pytest.raises(Misconfigured, match="policy"):
        policies.promote(wrong, artifact)
    assert "promotion.approved" not in approvers.events(settings)
    assert policies.promote(settings, artifact).status is PromotionStatus.APPLIED


def test_a_policy_is_kept_once_with_what_it_asks(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path)
    first, second = (policies.promote(under, approvers.registered(settings, name)) for name in ("a", "b"))
    assert first.decision
    assert second.decision
    assert first.decision.policy_digest == second.decision.policy_digest
    deciding._adopted.clear()
    third = policies.promote(under, approvers.registered(settings, "c"))
    assert third.status is PromotionStatus.APPLIED
    with database.transaction(settings) as tx:
        policy = policy_decisions.policy(tx, first.decision.policy_digest or "")
        assert policy_decisions.policy(tx, "0" * 64) is None
    assert policy
    assert (policy.digest(), [rule.id for rule in policy.rules]) == (first.decision.policy_digest, ["scored", "looks-at-everything"])
    assert approvers.events(settings).count("policy.adopted") == 1


def test_before_it_is_applied_a_promotion_that_waited_is_judged_again_and_a_no_is_kept_with_its_end(
    settings: Settings, tmp_path: Path
) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust")
    strict = policies.under(place, tmp_path, policies.SEES_EVERYTHING.rstrip() + policies.AT_THE_END)
    waits = approvers.asked(strict, approvers.registered(strict))
    assert waits.status is PromotionStatus.PENDING_APPROVAL
    approvers.agree(strict, waits, "alice")
    _, refused = approvers.agree_by_name(strict, waits, "dora", "ml-lead")
    assert (refused.status, refused.reason) == (PromotionStatus.REJECTED, "Something came in between.")
    first, second = _kept(strict, refused)
    assert (first.stage, first.decision.allowed, second.stage, second.decision.allowed) == (Stage.REQUEST, True, Stage.APPLY, False)
    assert second.inputs is not None
    assert [one["approver"] for one in second.inputs["approvals"]] == ["alice", "dora"]
    assert refused.decision == first.decision, "what its manifest was signed for stays"
    assert verifying.verify_history(strict).findings == []


def test_a_gate_that_is_away_before_it_is_applied_leaves_the_promotion_waiting(settings: Settings, tmp_path: Path) -> None:
    place = policies.under(approvers.settings_with_approvers(settings, tmp_path / "trust"), tmp_path)
    waits = approvers.asked(place, approvers.registered(place))
    approvers.agree(place, waits, "alice")
    away = place.model_copy(update={"sentinel_url": unused_url(), "sentinel_timeout_seconds": 0.3})
    with pytest.raises(Unavailable, match="still waits"):
        approvers.agree_by_name(away, waits, "dora", "ml-lead")
    assert approvers.now(place, waits).status is PromotionStatus.PENDING_APPROVAL
    assert len(_kept(place, waits)) == 1
    with sentinelnet.serve(sentinelnet.allows()) as server:
        applied = promoting.go_on(place.model_copy(update={"sentinel_url": server.url}), waits.id)
    assert applied.status is PromotionStatus.APPLIED
    assert [(one.gate, one.stage) for one in _kept(place, waits)] == [
        ("local", Stage.REQUEST),
        ("local", Stage.APPLY),
        ("sentinelnet", Stage.APPLY),
    ]
    assert server.requests[0].json["request_id"].startswith(f"{waits.id}:apply:")


def test_of_many_that_judge_one_promotion_at_once_one_is_kept(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path)
    request = PromotionRequest(
        artifact=str(approvers.registered(settings).id), environment="prod", evaluation={"quality": 0.1}, requested_by="paul"
    )
    promotion_id = promoting.request_promotion(under, request)
    start, failures = threading.Barrier(6), list[BaseException]()

    def judge() -> None:
        start.wait()
        try:
            promoting.decide(under, promotion_id)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=judge) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert promoting.go_on(under, promotion_id).status is PromotionStatus.REJECTED
    assert approvers.events(settings).count("policy.decision") == approvers.events(settings).count("promotion.rejected") == 1
    assert verifying.verify_history(settings).findings == []


def test_what_a_training_measured_is_recorded_before_it_is_judged_where_that_was_not_done(settings: Settings, code_ref: str) -> None:
    job = jobs.train(settings, training_spec(code_ref), requested_by="tess", on_output=lambda _: None)
    artifact = registering.register(settings, registering.registration_of(job))
    promotion = policies.promote(settings, artifact, quality=None)
    assert (promotion.status, promotion.evaluation_kind, promotion.evaluation["quality"]) == (PromotionStatus.APPLIED, "measured", 0.9)
    told = approvers.events(settings)
    assert told.index("evaluation.recorded") < told.index("promotion.requested")


def test_a_request_id_belongs_to_whoever_asked_under_it(settings: Settings) -> None:
    artifact = approvers.registered(settings)
    policies.promote(settings, artifact, request_id="release-7")
    with pytest.raises(RequestIdReused, match="asked for by paul"):
        policies.promote(settings, artifact, request_id="release-7", requested_by="petra")
    assert approvers.events(settings).count("promotion.requested") == 1


def test_a_decision_for_a_promotion_that_changed_meanwhile_keeps_nothing(settings: Settings, tmp_path: Path) -> None:
    place = policies.under(approvers.settings_with_approvers(settings, tmp_path / "trust"), tmp_path)
    waits = approvers.asked(place, approvers.registered(place))
    with database.autocommit(place) as connection:
        seen = dossier.of_promotion(connection, waits.id)
    judgement = deciding.decide(place, seen, Stage.APPLY)
    approvers.agree(place, waits, "alice")
    with database.transaction(place) as tx:
        stands = promotion_moves.agree(tx, seen.row, judgement, at=datetime.now(UTC))
    assert stands["status"] == PromotionStatus.PENDING_APPROVAL
    assert len(_kept(place, waits)) == 1


def test_the_default_policy_reads_nothing_more_of_the_database(settings: Settings) -> None:
    artifact = approvers.registered(settings)
    at = datetime.now(UTC)
    case = Case(artifact=artifact, environment="prod", requester="paul", judged=None, asked_at=at, at=at)
    assert set(policy_inputs.at_hand(case)) == policy_inputs.ALWAYS
    assert {"policies", "policy_decisions"} <= {table.name for table in STATE_TABLES}
