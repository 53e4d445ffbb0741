"""Orders to advance in an export: each is of the step it ended, and where people had to agree not of whoever asked for the promotion."""

from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import promoting, rolling_out, verifying
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.rollout import Action, Rollout, RolloutStatus
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.rolling_out import ordering
from aiinfra_core.settings import Settings
from tests.simulators import approvers
from tests.simulators.exports import checked, exported, problems
from tests.simulators.open_rollouts import SPEC, begun, now
from tests.simulators.open_rollouts import rolling_out as rollout_of


def _agreed(settings: Settings, content: str, **more: object) -> Promotion:
    """Promote what paul asks for, and alice and bob agree to."""
    artifact = approvers.registered(settings, content)
    request = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    promotion = promoting.promote(settings, PromotionRequest(**request | more))
    for name in ("alice", "bob"):
        _, promotion = approvers.agree(settings, promotion, name)
    return promotion


def _advanced_to_the_end(settings: Settings, rollout: Rollout, by: str) -> None:
    for step in range(len(SPEC.steps) - 1):
        rolling_out.order(settings, rollout.id, Action.ADVANCE, reason="trust me", ordered_by=by, step=step)
    assert now(settings, rollout).status is RolloutStatus.COMPLETED


@pytest.fixture
def agreed(settings: Settings, tmp_path: Path) -> tuple[Settings, Rollout]:
    """A rollout to which two people had to agree, in an installation with a trust root."""
    given = approvers.settings_with_approvers(settings, tmp_path / "trust")
    _agreed(given, "champion")
    return given, rollout_of(given, _agreed(given, "challenger", rollout=SPEC))


def test_somebody_else_than_who_asked_may_have_it_advance(agreed: tuple[Settings, Rollout], tmp_path: Path) -> None:
    settings, rollout = agreed
    _advanced_to_the_end(settings, rollout, "olga")
    assert settings.trust_root is not None
    report = checked(exported(settings, "rainfall@prod", tmp_path / "out"), settings.trust_root)
    assert (problems(report), report.steps[14].outcome) == ([], "pass")


def test_a_service_that_let_the_requester_skip_evidence_cannot_export_it(agreed: tuple[Settings, Rollout], tmp_path: Path) -> None:
    settings, rollout = agreed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "_check_apart", lambda *_: None)
        _advanced_to_the_end(settings, rollout, "Paul")
    with pytest.raises(EvidenceBroken, match=r"step 14, rollouts: .* skips evidence in the name of whoever asked for the promotion"):
        exported(settings, "rainfall@prod", tmp_path / "out")


def test_an_order_that_was_signed_for_another_step_is_found_here_and_in_an_export(settings: Settings, tmp_path: Path) -> None:
    given = approvers.settings_with_approvers(settings, tmp_path / "trust", {})
    rollout = begun(given)
    signed = ordering.signed

    def of_the_next(settings: Settings, asked: Any, rollout: Rollout) -> Any:
        return signed(settings, asked, rollout.model_copy(update={"step": rollout.step + 1}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "signed", of_the_next)
        _advanced_to_the_end(given, rollout, "olga")
    found = [step.detail for step in verifying.verify_model(given, "rainfall:2")[1] if not step.passed]
    assert found == ["an order to advance it is about step 2, and it was at step 1."]
    with pytest.raises(EvidenceBroken, match=r"step 14, rollouts: .*what was ordered in .* is about step 2, and it was at another"):
        exported(given, "rainfall@prod", tmp_path / "out")
