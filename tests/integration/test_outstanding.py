"""Promotions the gate allowed that are not applied yet: judged once more at the end, and no yes is used that no longer counts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from aiinfra_core import database, outstanding, promoting, verifying
from aiinfra_core.approving import waiting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus, Stage, awaited
from aiinfra_core.errors import Unavailable
from aiinfra_core.registry import dossier, policy_decisions
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.settings import Settings
from tests.simulators import approvers, policies
from tests.simulators.scripted_server import unused_url

POLICY = """\
name: p
version: "1"
rules:
  - id: scored
    expression: evaluation.metrics.quality > 0.5
    reason: It is too low.
"""
AT_THE_END = """\
  - id: no-freeze
    expression: environment != "prod"
    reason: It is frozen.
    stage: apply
"""
ONE = "approvals: {roles: {security: 1}}\n"
STRICTER = POLICY.replace("> 0.5", "> 99")


def _kept(settings: Settings, promotion: Promotion) -> list[GateDecision]:
    with database.transaction(settings) as tx:
        return policy_decisions.of_promotion(tx, promotion.id)


def _known(settings: Settings, promotion_id: UUID) -> Dossier:
    with database.autocommit(settings) as connection:
        return dossier.of_promotion(connection, promotion_id)


def _decided(settings: Settings, artifact: Artifact, to: str = "prod", **more: str) -> UUID:
    """Ask for a promotion and have the gate say yes; there the process dies."""
    asked = {"artifact": str(artifact.id), "environment": to, "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    promotion_id = promoting.request_promotion(settings, PromotionRequest.model_validate(asked | more))
    promoting.verify_artifact(settings, promotion_id)
    promoting.decide(settings, promotion_id)
    return promotion_id


def test_a_rule_for_the_end_is_judged_also_where_nobody_has_to_agree(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path, POLICY + AT_THE_END)
    artifact = approvers.registered(under)
    frozen = policies.promote(under, artifact)
    assert (frozen.status, frozen.reason, frozen.approvals_required) == (PromotionStatus.REJECTED, "It is frozen.", {})
    assert [(one.stage, one.decision.allowed) for one in _kept(under, frozen)] == [(Stage.REQUEST, True), (Stage.APPLY, False)]
    assert policies.promote(under, artifact) == frozen
    applied = policies.promote(under, artifact, to="staging")
    assert applied.status is PromotionStatus.APPLIED
    assert policies.promote(under, artifact, to="staging") == applied
    assert [one.stage for one in _kept(under, applied)] == [Stage.REQUEST, Stage.APPLY]
    assert b"approvalsRequired" not in (_known(under, applied.id).manifest_envelope or b"")
    assert verifying.verify_history(under).findings == []


def test_a_policy_without_rules_for_the_end_is_asked_once(settings: Settings, tmp_path: Path) -> None:
    applied = policies.promote(under := policies.under(settings, tmp_path, POLICY), approvers.registered(settings))
    assert (applied.status, applied.approvals_required, len(_kept(under, applied))) == (PromotionStatus.APPLIED, None, 1)


def test_what_waits_for_nobody_but_a_gate_that_is_away_is_carried_on_when_it_is_back(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path, POLICY + AT_THE_END)
    promotion_id = _decided(under, approvers.registered(under), "staging")
    waits = promoting.sign_manifest(under, promotion_id)
    assert (waits.status, awaited(waits).split()[0]) == (PromotionStatus.PENDING_APPROVAL, "nobody")
    with pytest.raises(Unavailable, match="still waits"):
        promoting.go_on(under.model_copy(update={"sentinel_url": unused_url(), "sentinel_timeout_seconds": 0.3}), promotion_id)
    (applied,) = waiting.go_on(under)
    assert (applied.id, applied.status) == (promotion_id, PromotionStatus.APPLIED)


@pytest.mark.parametrize(
    "asks",
    [
        "approvals: {roles: {security: 2}}\n",
        "approvals: {roles: {security: 1, ml-lead: 1}}\n",
        ONE + "separation_of_duties: {approver_is_not: [registrar]}\n",
    ],
)
def test_a_policy_that_asks_for_more_by_the_end_ends_what_fewer_agreed_to(settings: Settings, tmp_path: Path, asks: str) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust", {})
    before = policies.under(place, tmp_path, POLICY + ONE)
    waits = approvers.asked(before, artifact := approvers.registered(before))
    after = policies.under(place, tmp_path, POLICY + asks)
    _, ended = approvers.agree(after, waits, "alice")
    assert (ended.status, ended.reason) == (PromotionStatus.EXPIRED, "the policy asks for more now; ask again")
    assert [(one.stage, one.decision.allowed) for one in _kept(after, ended)] == [(Stage.REQUEST, True), (Stage.APPLY, True)]
    anew = approvers.asked(after, artifact)
    assert (anew.status, anew.id == ended.id) == (PromotionStatus.PENDING_APPROVAL, False)
    assert verifying.verify_history(after).findings == []


def test_a_policy_that_asks_for_less_by_the_end_ends_nothing(settings: Settings, tmp_path: Path) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust", {})
    before = policies.under(place, tmp_path, POLICY + ONE + "separation_of_duties: {approver_is_not: [registrar]}\n")
    waits = approvers.asked(before, approvers.registered(before))
    assert approvers.agree(policies.under(place, tmp_path, POLICY), waits, "alice")[1].status is PromotionStatus.APPLIED


def test_an_old_yes_is_not_signed_for_and_asked_again_it_is_judged_anew(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under = policies.under(settings, tmp_path, POLICY)
    promotion_id = _decided(under, artifact := approvers.registered(under))
    with monkeypatch.context() as later:
        later.setattr(outstanding, "YES_COUNTS_FOR", timedelta(0))
        ended = promoting.go_on(under, promotion_id)
    assert (ended.status, ended.reason, ended.manifest) == (PromotionStatus.REJECTED, outstanding.TOO_OLD, None)
    anew = policies.promote(policies.under(settings, tmp_path, STRICTER), artifact)
    assert (anew.id == promotion_id, anew.status, anew.reason) == (False, PromotionStatus.REJECTED, "It is too low.")
    assert verifying.verify_history(under).findings == []


def test_what_was_approved_by_an_old_yes_is_not_applied_and_may_be_asked_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under = policies.under(settings, tmp_path, POLICY)
    promotion_id = _decided(under, artifact := approvers.registered(under), request_id="own")
    assert promoting.sign_manifest(under, promotion_id).status is PromotionStatus.APPROVED
    with monkeypatch.context() as later:
        later.setattr(outstanding, "YES_COUNTS_FOR", timedelta(0))
        ended = promoting.go_on(under, promotion_id)
    assert (ended.status, ended.reason) == (PromotionStatus.EXPIRED, outstanding.TOO_OLD)
    anew = policies.promote(under, artifact, request_id="own")
    assert (anew.id == promotion_id, anew.status) == (False, PromotionStatus.APPLIED)
    assert verifying.verify_history(under).findings == []


def test_what_everybody_agreed_to_is_not_applied_after_the_time_it_might_wait(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path, POLICY + AT_THE_END)
    promotion_id = _decided(under, approvers.registered(under), "staging")
    promoting.sign_manifest(under, promotion_id)
    assert outstanding.settle(under, _known(under, promotion_id))["status"] == PromotionStatus.APPROVED
    approved = _known(under, promotion_id)
    until = approved.promotion.pending_until
    assert until is not None
    assert outstanding.ended(under, approved, datetime.now(UTC)) is None
    ended = outstanding.ended(under, approved, until)
    assert ended is not None
    assert (ended["status"], "before its time was over" in ended["reason"]) == (PromotionStatus.EXPIRED, True)


def test_a_yes_is_as_old_as_what_the_gates_said_last_whenever_it_was_asked_for(settings: Settings, tmp_path: Path) -> None:
    under = policies.under(settings, tmp_path, POLICY)
    known = _known(under, _decided(under, approvers.registered(under)))
    (said,) = _kept(under, known.promotion)
    over = said.created_at + outstanding.YES_COUNTS_FOR
    assert outstanding.is_too_old(under, known, over)
    assert over - timedelta(microseconds=1) - known.promotion.created_at > outstanding.YES_COUNTS_FOR
    assert not outstanding.is_too_old(under, known, over - timedelta(microseconds=1))


def test_whoever_asks_in_anothers_name_may_not_be_whom_the_policy_keeps_apart(settings: Settings, tmp_path: Path) -> None:
    apart = policies.under(settings, tmp_path, POLICY + "separation_of_duties: {requester_is_not: [registrar]}\n")
    artifact = approvers.registered(apart, by="rita")
    asked = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="zoe")
    refused = promoting.promote(apart, asked, asked_by="rita")
    assert (refused.status, (refused.reason or "").split(" and ")[0]) == (PromotionStatus.REJECTED, "rita was the registrar")
    (said,) = _kept(apart, refused)
    assert said.inputs is not None
    assert (said.inputs["people"]["requester"], said.inputs["people"]["asker"]) == ("zoe", "rita")
    allowed = promoting.promote(apart, asked.model_copy(update={"request_id": "own"}), asked_by="adam")
    assert allowed.status is PromotionStatus.APPLIED
