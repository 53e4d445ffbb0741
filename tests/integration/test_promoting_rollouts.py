"""Promotions that have to earn their traffic: by what spec, one at a time, the same when asked again, and bytes that were sent back."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from aiinfra_core import database, promoting, routing, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import Action, Rollback, Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import Query, RolloutSpec, SignalSpec
from aiinfra_core.errors import BadInput, Conflict, RequestIdReused
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import Promotion as Manifest
from aiinfra_core.registry import attestations, promotions, reading, rollout_moves, rollouts
from aiinfra_core.rolling_out import ordering
from aiinfra_core.settings import Settings
from tests.simulators.approvers import registered
from tests.simulators.open_rollouts import SPEC, begun, now, pointer_of, promotion_of, rolling_out

AT_ONCE = RolloutSpec(weights=(100,))
STEPS = "default: {weights: [10, 100]}\n"


def _ask(settings: Settings, artifact: Artifact, *, rollback: Rollback | None = None, **more: Any) -> Promotion:
    request = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    asked = PromotionRequest(**request | more)
    return promoting.go_on(settings, promoting.request_promotion(settings, asked, rollback=rollback))


def _end(settings: Settings, rollout: Rollout, status: RolloutStatus, by: str | None = None) -> None:
    action = Action.ROLLBACK if status is RolloutStatus.ROLLED_BACK else Action.ABORT
    ordered = ordering.signed(settings, ordering.Asked(rollout.id, action, "no good", by, None), rollout) if by else None
    with database.transaction(settings) as tx:
        assert rollout_moves.end(
            tx, rollouts.row_of(tx, rollout.id), status, "no good", order=ordered, at=now(settings, rollout).updated_at
        )


def _by_file(settings: Settings, folder: Path, text: str) -> Settings:
    path = folder / "rollouts.yaml"
    path.write_text(text)
    return settings.model_copy(update={"rollouts": path})


def _manifest(settings: Settings, promotion: Promotion) -> Manifest:
    with database.autocommit(settings) as connection:
        envelope = attestations.envelope(connection, promotion.manifest or "")
    predicate = statement.parse(dsse.parse(envelope).payload).predicate
    assert isinstance(predicate, Manifest)
    return predicate


def test_the_manifest_says_by_what_spec_a_model_has_to_earn_its_traffic(settings: Settings) -> None:
    rollout = begun(settings)
    promotion = promotion_of(settings, rollout)
    assert promotion.rollout == SPEC
    assert _manifest(settings, promotion).promotion.rollout_digest == SPEC.digest()


def test_since_when_it_is_current_is_told_whatever_its_traffic_does(settings: Settings) -> None:
    rollout = begun(settings)
    with database.snapshot(settings) as tx:
        (pointer,) = promotions.pointers(tx)
        current = reading.current(tx, "prod", "rainfall")
    champion = promotion_of(settings, rollout).sequence_seen
    assert pointer.sequence == champion and pointer_of(settings, rollout).updated_at > pointer.updated_at
    assert current.since == pointer.updated_at


def test_where_nothing_else_is_current_there_is_nothing_to_earn(settings: Settings) -> None:
    artifact = registered(settings)
    first = _ask(settings, artifact, rollout=SPEC)
    again = _ask(settings, artifact, rollout=SPEC, evaluation={"quality": 0.95})
    assert [(one.status, one.rollout) for one in (first, again)] == [(PromotionStatus.APPLIED, None)] * 2
    assert _manifest(settings, first).promotion.rollout_digest is None


def test_the_operators_file_counts_where_a_request_says_nothing(settings: Settings, tmp_path: Path) -> None:
    by_file = _by_file(settings, tmp_path, STEPS)
    _ask(by_file, registered(by_file, "first"))
    at_once = _ask(by_file, registered(by_file, "second"), rollout=AT_ONCE)
    stepwise = _ask(by_file, registered(by_file, "third"))
    assert (at_once.status, at_once.rollout) == (PromotionStatus.APPLIED, None)
    assert (stepwise.status, stepwise.rollout and stepwise.rollout.weights) == (PromotionStatus.ROLLING_OUT, (10, 100))


def test_while_a_rollout_is_open_nothing_else_is_asked_for_there(settings: Settings) -> None:
    rollout = begun(settings)
    challenger = promotion_of(settings, rollout)
    with pytest.raises(Conflict, match=rf"Rollout {rollout.id} .*aiinfra rollout abort {rollout.id} --reason"):
        _ask(settings, registered(settings, "another"))
    same = _ask(settings, registered(settings, "rainfall-challenger"), rollout=SPEC, request_id=challenger.request_id)
    assert (same.id, same.status) == (challenger.id, PromotionStatus.ROLLING_OUT)


def test_a_request_asked_again_gives_the_same_promotion_also_after_another_one_became_current(settings: Settings) -> None:
    first, second = registered(settings, "first"), registered(settings, "second")
    one = _ask(settings, first, rollout=SPEC, request_id="deploy-1")
    _ask(settings, second)
    assert _ask(settings, first, rollout=SPEC, request_id="deploy-1").id == one.id
    with pytest.raises(RequestIdReused):
        _ask(settings, first, rollout=AT_ONCE, request_id="deploy-1")


def test_a_request_asked_again_gives_the_same_promotion_also_after_the_operator_changed_the_way(settings: Settings, tmp_path: Path) -> None:
    _ask(settings, registered(settings, "first"))
    artifact = registered(settings, "second")
    one = _ask(settings, artifact, request_id="deploy-2")
    by_file = _by_file(settings, tmp_path, STEPS)
    _ask(by_file, registered(by_file, "third"), rollout=AT_ONCE)
    assert _ask(by_file, artifact, request_id="deploy-2").id == one.id


def test_without_a_request_id_another_way_is_another_question(settings: Settings) -> None:
    _ask(settings, registered(settings, "first"))
    artifact = registered(settings, "second")
    rollout = rolling_out(settings, _ask(settings, artifact, rollout=SPEC))
    _end(settings, rollout, RolloutStatus.ABORTED, by="olga")
    aborted = _ask(settings, artifact, rollout=SPEC)
    assert (aborted.id, aborted.status) == (rollout.promotion_id, PromotionStatus.REJECTED)
    assert _ask(settings, artifact).status is PromotionStatus.APPLIED


def test_what_nobody_could_judge_in_time_may_be_asked_anew(settings: Settings) -> None:
    _ask(settings, registered(settings, "first"))
    artifact = registered(settings, "second")
    rollout = rolling_out(settings, _ask(settings, artifact, rollout=SPEC))
    _end(settings, rollout, RolloutStatus.INCONCLUSIVE)
    assert promotion_of(settings, rollout).status is PromotionStatus.EXPIRED
    anew = _ask(settings, artifact, rollout=SPEC)
    assert (anew.status, anew.id != rollout.promotion_id) == (PromotionStatus.ROLLING_OUT, True)


def test_what_lost_to_a_rollout_may_be_asked_anew_when_that_is_over(settings: Settings) -> None:
    _ask(settings, registered(settings, "first"))
    artifact = registered(settings, "second")
    request = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    waiting = promoting.request_promotion(settings, request)
    rollout = rolling_out(settings, _ask(settings, registered(settings, "third"), rollout=SPEC))
    lost = promoting.go_on(settings, waiting)
    assert (lost.status, str(rollout.id) in (lost.reason or "")) == (PromotionStatus.SUPERSEDED, True)
    with pytest.raises(Conflict, match=str(rollout.id)):
        _ask(settings, artifact)
    _end(settings, rollout, RolloutStatus.ABORTED, by="olga")
    assert _ask(settings, artifact).status is PromotionStatus.APPLIED


def test_bytes_a_rollout_sent_back_come_again_only_where_that_rollout_is_named(settings: Settings) -> None:
    rollout = begun(settings)
    challenger = registered(settings, "rainfall-challenger")
    _end(settings, rollout, RolloutStatus.ROLLED_BACK)
    refused = _ask(settings, challenger, rollout=SPEC, request_id="again")
    assert (refused.status, refused.decision) == (PromotionStatus.REJECTED, None)
    assert (
        refused.reason
        == f"rollout {rollout.id} sent these bytes back; promote other bytes, or try them again with: --override {rollout.id}"
    )
    with pytest.raises(BadInput, match=f"the last one that did is {rollout.id}"):
        _ask(settings, challenger, overrides=uuid4(), request_id="wrong")
    overridden = _ask(settings, challenger, rollout=SPEC, overrides=rollout.id)
    assert (overridden.status, overridden.overrides) == (PromotionStatus.ROLLING_OUT, rollout.id)
    assert _manifest(settings, overridden).promotion.overrides == str(rollout.id)
    second = rolling_out(settings, overridden)
    _end(settings, second, RolloutStatus.ROLLED_BACK)
    with pytest.raises(BadInput, match=f"the last one that did is {second.id}"):
        _ask(settings, challenger, overrides=rollout.id, request_id="the-old-one")
    assert _ask(settings, challenger, environment="staging").status is PromotionStatus.APPLIED
    assert verifying.verify_history(settings).findings == []


def test_what_a_person_sent_back_may_come_again(settings: Settings) -> None:
    rollout = begun(settings)
    _end(settings, rollout, RolloutStatus.ROLLED_BACK, by="olga")
    challenger = registered(settings, "rainfall-challenger")
    assert _ask(settings, challenger, request_id="again").status is PromotionStatus.APPLIED
    with pytest.raises(BadInput, match="none did"):
        _ask(settings, challenger, overrides=rollout.id, request_id="for-nothing")


@pytest.mark.parametrize("rollout", [None, SPEC])
def test_bytes_sent_back_after_they_were_asked_for_do_not_become_current(settings: Settings, rollout: RolloutSpec | None) -> None:
    _ask(settings, registered(settings, "champion"))
    challenger = registered(settings, "challenger")
    asked = {"artifact": str(challenger.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    waiting = promoting.request_promotion(settings, PromotionRequest(**asked, rollout=rollout, request_id="waits"))
    for step in (promoting.verify_artifact, promoting.decide, promoting.sign_manifest):
        step(settings, waiting)
    sent_back = rolling_out(settings, _ask(settings, challenger, rollout=SPEC, request_id="quicker"))
    _end(settings, sent_back, RolloutStatus.ROLLED_BACK)
    refused = promoting.apply_promotion(settings, waiting)
    assert (refused.status, str(sent_back.id) in (refused.reason or "")) == (PromotionStatus.REJECTED, True)


def test_what_was_asked_for_before_a_rollout_came_and_went_is_applied_after_it(settings: Settings) -> None:
    _ask(settings, registered(settings, "champion"))
    artifact = registered(settings, "another")
    asked = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    waiting = promoting.request_promotion(settings, PromotionRequest(**asked, request_id="waits"))
    rollout = rolling_out(settings, _ask(settings, registered(settings, "challenger"), rollout=SPEC))
    _end(settings, rollout, RolloutStatus.ROLLED_BACK)
    assert promoting.go_on(settings, waiting).status is PromotionStatus.APPLIED
    assert (pointer_of(settings, rollout).sequence, pointer_of(settings, rollout).changes) == (2, None)


def test_a_promotion_that_goes_back_rolls_back_the_one_it_replaces(settings: Settings, tmp_path: Path) -> None:
    by_file = _by_file(settings, tmp_path, STEPS)
    first, second = registered(by_file, "first"), registered(by_file, "second")
    _ask(by_file, first)
    bad = _ask(by_file, second, rollout=AT_ONCE)
    back = _ask(by_file, first, rollback=Rollback(reason="it answers nonsense", replaces=bad.id))
    assert (back.status, back.rollout, back.rollback and back.rollback.replaces) == (PromotionStatus.APPLIED, None, bad.id)
    assert _manifest(by_file, back).promotion.replaces == str(bad.id)
    with database.autocommit(by_file) as connection:
        replaced = promotions.get(connection, bad.id)
    assert (replaced.status, replaced.reason, replaced.applied_at) == (PromotionStatus.ROLLED_BACK, "it answers nonsense", bad.applied_at)
    late = _ask(by_file, first, rollback=Rollback(reason="once more", replaces=bad.id), request_id="late")
    assert late.status is PromotionStatus.SUPERSEDED
    assert verifying.verify_history(by_file).findings == []


def test_what_would_be_too_long_to_be_routed_is_refused_when_it_is_asked_for(settings: Settings) -> None:
    long = settings.model_copy(update={"artifact_root": "/".join([settings.artifact_root or "", *["r" * 120] * 5])})
    champion, near, far = (registered(long, content) for content in ("/".join(["c" * 120] * 7), "near", "/".join(["f" * 120] * 7)))
    _ask(long, champion)
    with pytest.raises(BadInput, match=r"rainfall:3 cannot be rolled out in prod: .*; register it under a shorter URI, or .* --at-once"):
        _ask(long, far, rollout=SPEC)
    with database.autocommit(long) as connection:
        assert promotions.of_artifact(connection, far.id) == []
    rollout = rolling_out(long, _ask(long, near, rollout=SPEC))
    assert routing.routing_of(long, "prod", "rainfall").bundle
    _end(long, rollout, RolloutStatus.ABORTED, by="olga")
    assert _ask(long, far, rollout=AT_ONCE).status is PromotionStatus.APPLIED


def test_a_request_brings_no_query_of_its_own_and_names_a_source_there_is(settings: Settings) -> None:
    artifact = registered(settings)
    signal = {"name": "errors", "kind": "errors", "alpha": 0.004}
    own = SignalSpec(**signal, source="web", query=Query(kind="prometheus", units="up", bad="up"))
    unknown = SignalSpec(**signal, source="web")
    with pytest.raises(BadInput, match="brings its own query"):
        _ask(settings, artifact, rollout=RolloutSpec(signals=(own,)))
    with pytest.raises(BadInput, match="has the source web, which is not one of: observations"):
        _ask(settings, artifact, rollout=RolloutSpec(signals=(unknown,)))
    with database.autocommit(settings) as connection:
        assert promotions.of_artifact(connection, UUID(str(artifact.id))) == []
