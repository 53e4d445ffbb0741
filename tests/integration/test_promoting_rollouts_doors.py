"""Promotions that earn their traffic, asked for on the machine and at a service."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, promoting
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.registry import as_sent
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_promotions
from aiinfra_core.wire.records import SentPromotion, sent_promotion
from tests.simulators.approvers import registered
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import PROMOTE, open_to_debug
from tests.simulators.open_rollouts import promoted
from tests.simulators.service import AS_DEBUG, calling, serving

__all__ = ["installation", "run"]


@pytest.mark.parametrize("there", [False, True])
def test_a_promotion_is_typed_with_its_steps_and_says_how_it_goes_on(
    run: Run, installation: Settings, tmp_path: Path, *, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(f"promote {registered(installation, 'first').id} --to prod --metric quality=0.9 --weights 5,100")
    assert "Nothing was current to compare it with, so it got all traffic at once." in first.err
    artifact = registered(installation, "second")
    spec = tmp_path / "rollout.yaml"
    spec.write_text("unit: user\nbake_minutes: 5\n")
    typed = f"promote {artifact.id} --to prod --metric quality=0.9 --rollout {spec} --weights 2.5,100"
    if there:
        monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
        with serving(open_to_debug(installation)) as url:
            ended = run(f"{typed} --server {url}")
    else:
        ended = run(typed)
    assert ended.code == ExitCode.OK, ended.err
    assert "Nothing was current" not in ended.err
    assert "rainfall:2 earns its traffic step by step in prod" in ended.out
    assert "2.5 % → 100 % by user" in ended.out
    assert "aiinfra rollout show rainfall@prod" in ended.out


def test_two_ways_at_once_and_weights_that_are_none_are_told(run: Run, installation: Settings) -> None:
    artifact = str(registered(installation).id)
    both = run(f"promote {artifact} --to prod --at-once --weights 5,100")
    falling = run(f"promote {artifact} --to prod --weights 50,5,100")
    nobody = run(f"promote {artifact} --to prod --override yesterday")
    assert [one.code for one in (both, falling, nobody)] == [ExitCode.BAD_INPUT] * 3
    assert "--at-once leaves nothing to roll out" in both.err
    assert "a rollout spec: weights must rise and end with 100" in falling.err
    assert "--override takes a rollout's id, not 'yesterday'; see: aiinfra rollout list" in nobody.err


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (
            "default: {weights: [5, 100]}",
            "is an operator's file: set AI_INFRA_ROLLOUTS to it, or write its fields (weights, signals, ...) alone.",
        ),
        ("signals: [{name: errors, kind: errors}]", "This does not describe a rollout spec: signals.0.alpha: Field required."),
        ("signals: []", "signals: Tuple should have at least 1 item"),
    ],
)
def test_a_file_that_holds_no_spec_is_told_by_its_cause_alone(run: Run, tmp_path: Path, written: str, why: str) -> None:
    (tmp_path / "spec.yaml").write_text(written)
    ended = run(f"promote rain --to prod --rollout {tmp_path / 'spec.yaml'}")
    assert (ended.code, why in ended.error) == (ExitCode.BAD_INPUT, True), ended.error


def test_while_a_rollout_is_open_the_service_answers_409_with_what_to_do(settings: Settings) -> None:
    place = open_to_debug(settings)
    promoted(place, registered(place, "first"))
    second, third = registered(place, "second"), registered(place, "third")
    asked = {"environment": "prod", "evaluation": {"quality": 0.9}}
    with calling(place) as api:
        started = api.post(PROMOTE, json={**asked, "artifactId": str(second.id), "rollout": {"weights": [5, 100]}})
        listed = api.get("/ai-infra/promotions", params={"artifactId": str(second.id)})
        refused = api.post(PROMOTE, json={**asked, "artifactId": str(third.id)})
        wrong = api.post(PROMOTE, json={**asked, "artifactId": str(third.id), "rollout": {"weights": [5, 50]}})
        lacking = api.post(PROMOTE, json={**asked, "artifactId": str(third.id), "rollout": {"signals": [{"name": "e", "kind": "errors"}]}})
    assert (started.status_code, started.json()["status"]) == (200, "rolling_out")
    assert started.json()["rollout"]["weights"] == [5, 100]
    assert "etag" not in started.headers
    assert listed.json() == [started.json()]
    assert (refused.status_code, "aiinfra rollout abort" in refused.json()["detail"]) == (409, True)
    assert (wrong.status_code, "weights must rise" in json.dumps(wrong.json())) == (400, True)
    assert lacking.json()["detail"] == "The request is malformed: rollout.signals.0.alpha: Field required."


def test_a_promotion_that_goes_back_is_sent_the_same_out_of_the_database_and_by_its_record(settings: Settings) -> None:
    first = promoted(settings, registered(settings, "first"))
    second = promoted(settings, registered(settings, "second"))
    rollback = Rollback(reason='it said "no"', replaces=second.id)
    asked = {"artifact": str(first.artifact_id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    back = promoting.go_on(settings, promoting.request_promotion(settings, PromotionRequest(**asked), rollback=rollback))
    with database.autocommit(settings) as connection:
        document = connection.execute(select(as_sent.promotion()).where(model_promotions.c.id == back.id)).scalar_one()
    sent = SentPromotion.model_validate(document)
    assert sent == SentPromotion.model_validate_json(sent_promotion(back).model_dump_json(by_alias=True))
    assert sent.rollback is not None
    assert (sent.rollback.replaces, sent.rollback.reason) == (second.id, 'it said "no"')
