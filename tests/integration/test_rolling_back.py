"""Going back by a person: to what was current before, verified, signed and recorded; or away from a challenger that is rolled out."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import text

from aiinfra_core import awaiting, database, rolling_back, rolling_out, simulating, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Pointer, Promotion, PromotionStatus
from aiinfra_core.domain.rollout import Action, RollbackRequest, RolloutStatus
from aiinfra_core.errors import BadInput, NotFound, RequestIdReused
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import Promotion as Manifest
from aiinfra_core.http_api import approval_page
from aiinfra_core.registry import attestations, promotions, rollouts
from aiinfra_core.registry.past_promotions import Which
from aiinfra_core.settings import Settings
from tests.simulators import approvers, policies, sentinelnet
from tests.simulators.open_rollouts import SPEC, WORSE, begun, now, observe, pointer_of, promoted, promotion_of
from tests.simulators.open_rollouts import rolling_out as rollout_of

WHY = "it answers with the rain of yesterday"


def back(settings: Settings, **asked: Any) -> Promotion:
    request = {"model": "rainfall", "environment": "prod", "reason": WHY, "requested_by": "olga"}
    return rolling_back.roll_back(settings, RollbackRequest.model_validate(request | asked))


def versions(settings: Settings, count: int) -> list[tuple[Artifact, Promotion]]:
    """Register so many versions and make one after the other current in prod."""
    found = [approvers.registered(settings, f"weights-{number}") for number in range(1, count + 1)]
    return [(artifact, promoted(settings, artifact)) for artifact in found]


def current(settings: Settings) -> Pointer:
    with database.autocommit(settings) as connection:
        pointer = promotions.pointer(connection, "prod", "rainfall")
    assert pointer is not None
    return pointer


def as_it_stands(settings: Settings, promotion: Promotion) -> Promotion:
    with database.autocommit(settings) as connection:
        return promotions.get(connection, promotion.id)


def told(settings: Settings) -> list[tuple[str, str]]:
    """Return the types and actors of the events, in order."""
    query = text("SELECT event_type, payload ->> 'actor' FROM audit_events ORDER BY seq")
    with database.autocommit(settings) as connection:
        return [(kind, actor) for kind, actor in connection.execute(query)]


def test_it_goes_back_to_the_version_before_by_a_signed_promotion_that_says_so(settings: Settings) -> None:
    (one, _), (_, second) = versions(settings, 2)
    went = back(settings)
    assert (went.status, went.artifact_id, went.rollout) == (PromotionStatus.APPLIED, one.id, None)
    assert went.rollback is not None
    assert (went.rollback.reason, went.rollback.replaces) == (WHY, second.id)
    pointer, replaced = current(settings), as_it_stands(settings, second)
    assert (pointer.artifact_id, pointer.promotion_id, pointer.sequence) == (one.id, went.id, 3)
    assert (replaced.status, replaced.reason) == (PromotionStatus.ROLLED_BACK, WHY)
    assert went.evaluation == {"quality": 0.9}
    with database.autocommit(settings) as connection:
        envelope = attestations.envelope(connection, went.manifest or "")
    said = statement.parse(dsse.parse(envelope).payload).predicate
    assert isinstance(said, Manifest)
    assert (said.promotion.rollback, said.promotion.replaces, said.promotion.follows) == (True, str(second.id), second.manifest)
    assert told(settings)[-2:] == [("promotion.applied", "olga"), ("rollback.applied", "olga")]
    assert verifying.verify_history(settings).findings == []


def test_once_more_it_goes_further_back_and_never_to_what_was_sent_back(settings: Settings) -> None:
    (one, _), (two, _), (three, _) = versions(settings, 3)
    assert [back(settings).artifact_id for _ in range(2)] == [two.id, one.id]
    with pytest.raises(NotFound, match=r"current in prod was sent back since; go there all the same with --to \(2, 3\), or promote"):
        back(settings)
    assert back(settings, to=3).artifact_id == three.id
    promoted(settings, two, request_id="once-more")
    assert back(settings).artifact_id == three.id


def test_there_has_to_be_somewhere_to_go_back_to(settings: Settings) -> None:
    with pytest.raises(NotFound, match=r"Nothing is current for rainfall in prod.*aiinfra models show rainfall"):
        back(settings)
    versions(settings, 1)
    alone = "Nothing else was current in prod to go back to; promote a version: aiinfra promote rainfall:VERSION --to prod$"
    with pytest.raises(NotFound, match=alone):
        back(settings)
    versions(settings, 2)
    approvers.registered(settings, "never-promoted")
    for asked, kind, why in (
        ({"to": 2}, BadInput, "rainfall:2 is what is current in prod"),
        ({"to": 3}, NotFound, "rainfall:3 was never current in prod"),
        ({"to": 9}, NotFound, "rainfall:9 was never current in prod"),
        ({"environment": "staging"}, NotFound, "Nothing is current for rainfall in staging"),
        ({"environment": "moon"}, NotFound, "no environment 'moon'"),
        ({"reason": " "}, BadInput, "needs a reason"),
    ):
        with pytest.raises(kind, match=why):
            back(settings, **asked)
    assert current(settings).sequence == 2


def test_an_open_rollout_is_ended_and_the_champion_has_all_traffic_again(settings: Settings) -> None:
    rollout = begun(settings)
    went = back(settings, request_id="oncall-1")
    assert (went.id, went.status) == (rollout.promotion_id, PromotionStatus.ROLLED_BACK)
    ended, pointer = now(settings, rollout), pointer_of(settings, rollout)
    assert (ended.status, ended.weight) == (RolloutStatus.ROLLED_BACK, 0)
    assert (pointer.promotion_id, pointer.sequence, pointer.rollout_id) == (rollout.champion, rollout.sequence, None)
    with database.autocommit(settings) as connection:
        (order,) = rollouts.orders(connection, rollout.id)
    assert (order.action, order.reason, order.ordered_by) == (Action.ROLLBACK, WHY, "olga")
    assert back(settings, request_id="oncall-1") == went
    assert current(settings).promotion_id == rollout.champion
    assert verifying.verify_history(settings).findings == []


def test_with_a_rollout_open_a_version_that_is_named_is_gone_back_to_as_well(settings: Settings) -> None:
    (one, _), (two, _) = versions(settings, 2)
    rollout = rollout_of(settings, promoted(settings, approvers.registered(settings, "challenger"), rollout=SPEC))
    with pytest.raises(NotFound, match="rainfall:9 was never current"):
        back(settings, to=9)
    assert now(settings, rollout).status is RolloutStatus.RUNNING
    went = back(settings, to=1, request_id="oncall-2")
    assert (went.status, went.artifact_id, current(settings).artifact_id) == (PromotionStatus.APPLIED, one.id, one.id)
    assert promotion_of(settings, rollout).status is PromotionStatus.ROLLED_BACK
    assert back(settings, to=1, request_id="oncall-2") == went
    third = rollout_of(settings, promoted(settings, two, rollout=SPEC, request_id="again"))
    assert back(settings, to=1).id == third.promotion_id  # what is named is the champion: ending the rollout is all


def test_whoever_was_killed_between_ending_the_rollout_and_asking_goes_on_under_the_same_request_id(settings: Settings) -> None:
    (one, _), _ = versions(settings, 2)
    rollout = rollout_of(settings, promoted(settings, approvers.registered(settings, "challenger"), rollout=SPEC))
    rolling_out.order(settings, rollout.id, Action.ROLLBACK, reason=WHY, ordered_by="olga", request_id="oncall-3")
    assert back(settings, to=1, request_id="oncall-3").artifact_id == one.id
    assert current(settings).sequence == 3


def test_the_same_request_is_done_once_whatever_is_current_by_then(settings: Settings) -> None:
    (one, _), _, _ = versions(settings, 3)
    went = back(settings, request_id="oncall-4", to=1)
    assert back(settings, request_id="oncall-4", to=1) == back(settings, request_id="oncall-4") == went
    assert (current(settings).artifact_id, current(settings).sequence) == (one.id, 4)
    for other in ({"to": 2}, {"reason": "another"}, {"environment": "staging"}):
        with pytest.raises(RequestIdReused):
            back(settings, request_id="oncall-4", **other)
    with pytest.raises(RequestIdReused):
        back(settings, request_id="rainfall:1")


def test_bytes_that_are_not_what_was_registered_are_not_gone_back_to(settings: Settings) -> None:
    (one, _), (two, second) = versions(settings, 2)
    Path(unquote(urlsplit(one.artifact_uri).path)).write_text("other weights")
    refused = back(settings)
    assert (refused.status, (refused.reason or "").startswith("artifact: ")) == (PromotionStatus.REJECTED, True)
    assert (current(settings).artifact_id, as_it_stands(settings, second).status) == (two.id, PromotionStatus.APPLIED)


def test_what_a_rollout_sent_back_since_is_no_good_version_but_can_be_named(settings: Settings) -> None:
    (one, _), (two, _), _ = versions(settings, 3)
    again = rollout_of(settings, promoted(settings, two, rollout=SPEC, request_id="again"))
    observe(settings, again, WORSE)
    rolling_out.look_at(settings, again.id)
    assert now(settings, again).status is RolloutStatus.ROLLED_BACK
    assert back(settings).artifact_id == one.id
    assert back(settings, to=2).artifact_id == two.id


POLICY = (
    policies.SEES_EVERYTHING.replace("scored\n", "scored\n    on: promotion\n")
    + """
  - id: one-at-a-time
    on: rollback
    expression: rollback.fromVersion - rollback.toVersion == 1
    reason: "From {rollback.fromVersion} to {rollback.toVersion} is too far at once ({rollback.reason})."
rollback: {approvals: {roles: {security: 1}}}
"""
)


def test_a_policy_can_have_rules_and_people_for_rollbacks(settings: Settings, tmp_path: Path) -> None:
    _, (two, _), _ = versions(settings, 3)
    ours = policies.under(settings, tmp_path, POLICY)
    far = back(ours, to=1)
    assert (far.status, far.reason) == (PromotionStatus.REJECTED, f"From 3 to 1 is too far at once ({WHY}).")
    waits = back(ours)
    assert (waits.status, waits.approvals_required) == (PromotionStatus.PENDING_APPROVAL, {"security": 1})
    assert back(ours) == waits
    page = approval_page.page(*awaiting.story_of(ours, waits.id), None)
    assert f"<dt>goes back, because</dt><dd>{WHY}</dd>" in page
    simulation = simulating.simulate(ours, Which(), lambda *_: None)
    assert (simulation.replayed, simulation.changed) == (5, ())
    _, applied = approvers.agree_by_name(ours, waits, "alice", "security")
    assert (applied.status, current(ours).artifact_id) == (PromotionStatus.APPLIED, two.id)
    assert verifying.verify_history(ours).findings == []


def test_sentinelnet_is_told_that_it_goes_back(settings: Settings) -> None:
    versions(settings, 2)
    with sentinelnet.serve(sentinelnet.allows()) as gate:
        asked = settings.model_copy(update={"sentinel_url": gate.url, "policy": None})
        assert back(asked).status is PromotionStatus.APPLIED
    (question,) = (received.json for received in gate.requests)
    assert question["context"]["rollback"] == {"reason": WHY, "fromVersion": 2, "toVersion": 1}
    assert question["context"]["metrics"] == {"quality": 0.9}
