"""A person skips evidence that is not there yet: of the step they saw, and where people had to agree as one who might have."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiinfra_core import promoting, rolling_out, verifying
from aiinfra_core.domain.approval import DEBUG_TOKEN, THIS_MACHINE
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.rollout import Action, Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import BadInput, Conflict, Forbidden, Outdated, RequestIdReused
from aiinfra_core.settings import Settings
from tests.simulators import approvers
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import open_to_debug
from tests.simulators.oidc import AUDIENCE, issuing
from tests.simulators.open_rollouts import ERRORS, LIKE_IT, SPEC, begun, looks_at, now, observe, pointer_of, promotion_of
from tests.simulators.open_rollouts import rolling_out as rollout_of
from tests.simulators.service import AS_DEBUG, serving

__all__ = ["installation", "run"]

SLOWLY = RolloutSpec(weights=(1, 10, 50, 100), bake_minutes=0, signals=(ERRORS,))


def advanced(
    settings: Settings, rollout: Rollout, step: int | None, by: str = "olga", issuer: str = "", request_id: str | None = None
) -> Rollout:
    """Order a rollout to go on from a step."""
    about: dict[str, Any] = {"reason": "to go on", "ordered_by": by, "issuer": issuer, "request_id": request_id}
    return rolling_out.order(settings, rollout.id, Action.ADVANCE, step=step, **about)


def test_two_people_who_want_to_end_the_same_step_end_one(settings: Settings) -> None:
    rollout = begun(settings, SLOWLY)
    assert advanced(settings, rollout, 0, "olga").weight == 1000
    with pytest.raises(Outdated, match=r"is at step 2 \(10 %\), not at step 1; look at it and order again"):
        advanced(settings, rollout, 0, "otto")
    assert now(settings, rollout).weight == 1000
    assert advanced(settings, rollout, 1, "otto").weight == 5000


def test_an_order_to_advance_that_names_no_step_is_refused(settings: Settings) -> None:
    rollout = begun(settings)
    with pytest.raises(BadInput, match="names the step that was seen"):
        advanced(settings, rollout, None)
    assert (now(settings, rollout), looks_at(settings, rollout)) == (rollout, [])


def test_the_same_request_about_another_step_is_another_request(settings: Settings) -> None:
    rollout = begun(settings, SLOWLY)
    advanced(settings, rollout, 0, request_id="once")
    assert advanced(settings, rollout, 0, request_id="once").weight == 1000
    with pytest.raises(RequestIdReused):
        advanced(settings, rollout, 1, request_id="once")


def test_nobody_skips_evidence_that_already_is_against_the_challenger(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (10.0, 100.0)}))
    observe(settings, rollout, {"champion": (900, 0), "challenger": (100, 100)})
    with pytest.raises(Conflict, match=r"is over: rolled back .*100 of 100"):
        advanced(settings, rollout, 0)
    ended = now(settings, rollout)
    assert (ended.status, promotion_of(settings, rollout).status) == (RolloutStatus.ROLLED_BACK, "rolled_back")
    assert pointer_of(settings, rollout).promotion_id == rollout.champion
    assert verifying.verify_history(settings).findings == []


def test_evidence_that_suffices_by_then_ends_the_step_once(settings: Settings) -> None:
    rollout = begun(settings)
    observe(settings, rollout, LIKE_IT[0])
    with pytest.raises(Outdated, match="is at step 2"):
        advanced(settings, rollout, 0)
    assert (now(settings, rollout).step, [look.verdict for look in looks_at(settings, rollout)]) == (1, ["advance"])


def _asked(settings: Settings, content: str, *agree: str, **more: object) -> Promotion:
    artifact = approvers.registered(settings, content)
    request = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    promotion = promoting.promote(settings, PromotionRequest(**request | more), asked_by="ci")
    for name in agree:
        _, promotion = approvers.agree(settings, promotion, name)
    return promotion


@pytest.fixture
def agreed(settings: Settings, tmp_path: Path) -> tuple[Settings, Rollout]:
    """A rollout to which two people had to agree; paul had ci ask for it."""
    given = approvers.settings_with_approvers(settings, tmp_path / "trust")
    _asked(given, "champion", "alice", "bob")
    return given, rollout_of(given, _asked(given, "challenger", "alice", "bob", rollout=SPEC))


@pytest.mark.parametrize("by", ["paul", "PAUL", "ci"])
def test_whoever_asked_for_a_promotion_that_needed_approvals_does_not_order_it_to_advance(
    agreed: tuple[Settings, Rollout], by: str
) -> None:
    settings, rollout = agreed
    with pytest.raises(Forbidden, match=f"and {by} asked for it: let somebody else order it to advance, or wait for the evidence"):
        advanced(settings, rollout, 0, by)
    assert (now(settings, rollout), looks_at(settings, rollout)) == (rollout, [])
    assert rolling_out.order(settings, rollout.id, Action.PAUSE, reason="a game", ordered_by=by).status is RolloutStatus.PAUSED
    assert advanced(settings, rollout, 0, "olga").step == 1


@pytest.mark.parametrize("issuer", [THIS_MACHINE, DEBUG_TOKEN])
def test_a_name_that_nobody_proved_does_not_order_it_to_advance_either(agreed: tuple[Settings, Rollout], issuer: str) -> None:
    settings, rollout = agreed
    with pytest.raises(Forbidden, match="nobody proved to be olga: order it at a service that knows who asks"):
        advanced(settings, rollout, 0, "olga", issuer)
    assert now(settings, rollout) == rollout
    aborted = rolling_out.order(settings, rollout.id, Action.ABORT, reason="enough", ordered_by="olga", issuer=issuer)
    assert aborted.status is RolloutStatus.ABORTED


def test_where_nobody_had_to_agree_whoever_asked_may_order_it_to_advance(settings: Settings) -> None:
    rollout = begun(settings)
    assert promotion_of(settings, rollout).requested_by == "paul"
    assert advanced(settings, rollout, 0, "paul", THIS_MACHINE).step == 1


def test_over_http_it_is_whoever_proves_to_be_who(agreed: tuple[Settings, Rollout]) -> None:
    settings, rollout = agreed
    with issuing() as issuer:
        known = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": json.dumps({"anyone": ["promoter:prod"]})}
        proofs = {"debug": AS_DEBUG} | {name: {"Authorization": f"Bearer {issuer.token(sub=name)}"} for name in ("paul", "olga")}
        with serving(open_to_debug(settings).model_copy(update=known)) as url:
            address, body = f"{url}/ai-infra/rollouts/{rollout.id}/advance", {"reason": "to go on", "step": 0}
            answers = {name: httpx.post(address, headers=headers, json=body) for name, headers in proofs.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == {"debug": 403, "paul": 403, "olga": 200}
    assert "paul asked for it: let somebody else order it to advance" in answers["paul"].json()["detail"]


def test_on_the_machine_itself_nobody_proves_who_they_are(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = approvers.settings_with_approvers(installation, tmp_path / "trust")
    _asked(given, "champion", "alice", "bob")
    rollout = rollout_of(given, _asked(given, "challenger", "alice", "bob", rollout=SPEC))
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(given.trust_root))
    refused = run("rollout advance rainfall@prod --reason fine --ordered-by olga")
    assert (refused.code, "nobody proved to be olga: order it at a service that knows who asks" in refused.error) == (8, True), refused
    assert now(given, rollout) == rollout
