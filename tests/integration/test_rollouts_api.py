"""Rollouts over HTTP and on the command line: how they stand, what they are judged by, and what people order of them."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from aiinfra_core import database, promoting, rolling_out, verifying
from aiinfra_core.client import Client
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.rollout import Arm, Rollout
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import BadInput, Outdated
from aiinfra_core.registry import observations, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts
from tests.simulators.approvers import registered
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import open_to_debug
from tests.simulators.oidc import AUDIENCE, issuing
from tests.simulators.service import AS_DEBUG, serving

__all__ = ["installation", "run"]

ONE_SIGNAL = {"signals": [{"name": "errors", "kind": "errors", "alpha": 0.004}], "bake_minutes": 0, "look_seconds": 1}
MINUTE = timedelta(minutes=1)


def promoted(settings: Settings, content: str, model: str = "rainfall", **spec: object) -> Promotion:
    """Promote a new version to prod; with a spec it has to earn its traffic."""
    artifact = registered(settings, content, model=model)
    rollout = RolloutSpec(**ONE_SIGNAL | spec) if spec else None
    asked = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    return promoting.promote(settings, PromotionRequest(**asked, rollout=rollout))


def rolled_out(settings: Settings, model: str = "rainfall", **spec: object) -> Rollout:
    """Begin to roll version 2 out over version 1."""
    promoted(settings, f"{model}-first", model)
    promotion = promoted(settings, f"{model}-second", model, **spec or {"weights": (5, 50, 100)})
    with database.autocommit(settings) as connection:
        found = rollouts.of_promotion(connection, promotion.id)
    assert found is not None
    return found


def observed(settings: Settings, rollout: Rollout, champion: tuple[int, int], challenger: tuple[int, int]) -> None:
    """Let a process report (requests, failed ones) of each arm."""
    counts = [ObservedCounts(arm=arm, units=units, errors=bad) for arm, (units, bad) in zip(Arm, (champion, challenger), strict=True)]
    batch = AskedObservations(batch=uuid4(), reporter="rain-1", step=rollout.step, counts=tuple(counts))
    with database.transaction(settings) as tx:
        assert observations.take(tx, rollout, batch, datetime.now(UTC), by="rain")


def looked(settings: Settings, rollout: Rollout, minutes: int) -> None:
    rolling_out.look_at(settings, rollout.id, rollout.created_at + minutes * MINUTE)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with serving(open_to_debug(settings)) as url, Client(url, debug_token=AS_DEBUG["X-Debug-Token"]) as client:
        yield client


def test_a_rollout_is_told_with_its_versions_looks_and_orders(settings: Settings, client: Client) -> None:
    rollout = rolled_out(settings)
    observed(settings, rollout, (950, 9), (50, 1))
    looked(settings, rollout, 1)
    client.order_rollout(rollout.id, "pause", reason="a game tonight")
    listed = list(client.rollouts(environment="production", model="rainfall", only_open=True))
    assert [(one.id, one.status, one.weight, one.challenger_version, one.champion_version) for one in listed] == [
        (rollout.id, "paused", 500, 2, 1)
    ]
    found = client.rollout(rollout.id)
    assert (found.challenger.version, found.champion.version, found.rollout.looks) == (2, 1, 1)
    heard = found.looks[0].readings[0]
    assert (heard.heard, heard.challenger and heard.challenger.units, heard.champion and heard.champion.bad) == ("ok", 50, 9)
    assert [(one.action, one.reason) for one in found.orders] == [("pause", "a game tonight")]
    assert list(client.rollouts(model="other")) == [] == list(client.rollouts(environment="staging"))


def test_rollouts_are_listed_page_by_page_newest_first(settings: Settings, client: Client) -> None:
    begun = [rolled_out(settings, model).id for model in ("sun", "rain", "wind")]
    assert [one.id for one in client.rollouts(page_size=1)] == begun[::-1]


def test_looks_are_read_in_order_page_by_page_and_an_overview_has_the_first_and_the_last(settings: Settings, client: Client) -> None:
    rollout = rolled_out(settings)
    for minute in range(1, 8):
        observed(settings, rollout, (95, 1), (5, 0))
        looked(settings, rollout, minute)
    assert [one.number for one in client.looks(rollout.id)] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.number for one in client.looks(rollout.id, after=5)] == [6, 7]
    assert [one.number for one in client.rollout(rollout.id, most_looks=3).looks] == [1, 4, 7]
    first = httpx.get(f"{client._connection.url}/ai-infra/rollouts/{rollout.id}?after=0&limit=3", headers=AS_DEBUG)
    assert [one["number"] for one in first.json()["looks"]] == [1, 2, 3]
    assert re.search(r"[?&]after=3[&>]", first.headers["link"])
    last = httpx.get(f"{client._connection.url}/ai-infra/rollouts/{rollout.id}?after=3&limit=4", headers=AS_DEBUG)
    assert "link" not in last.headers


def test_orders_are_carried_out_once_under_one_key_and_not_after_the_end(settings: Settings, client: Client) -> None:
    rollout = rolled_out(settings)
    for _ in range(2):
        assert client.order_rollout(rollout.id, "advance", step=0, reason="seen in the shadow", request_id="go-on").step == 1
    assert [(one.action, one.step) for one in client.rollout(rollout.id).orders] == [("advance", 0)]
    assert client.order_rollout(rollout.id, "abort", reason="customers complain").status == "aborted"
    assert list(client.rollouts(only_open=True)) == [] and len(list(client.rollouts())) == 1
    answers = {}
    for name, body in (("pause", {"reason": "late"}), ("abort", {}), ("advance", {"reason": "", "step": 1}), ("explode", {"reason": "x"})):
        address = f"{client._connection.url}/ai-infra/rollouts/{rollout.id}/{name}"
        answers[name] = httpx.post(address, headers=AS_DEBUG, json=body).status_code
    assert answers == {"pause": 409, "abort": 400, "advance": 400, "explode": 404}
    unknown = f"{client._connection.url}/ai-infra/rollouts/{uuid4()}/pause"
    assert httpx.post(unknown, headers=AS_DEBUG, json={"reason": "x"}).status_code == 404
    assert verifying.verify_history(settings).findings == []


def test_to_advance_names_the_step_that_was_seen(settings: Settings, client: Client) -> None:
    rollout = rolled_out(settings)
    address = f"{client._connection.url}/ai-infra/rollouts/{rollout.id}/advance"
    for body, status in (({}, 400), ({"step": "0"}, 400), ({"step": -1}, 400), ({"step": 1}, 412), ({"step": 0}, 200), ({"step": 0}, 412)):
        answer = httpx.post(address, headers=AS_DEBUG, json={"reason": "seen in the shadow"} | body)
        assert answer.status_code == status, (body, answer.text)
    with pytest.raises(BadInput, match="step"):
        client.order_rollout(rollout.id, "advance", reason="why not")
    with pytest.raises(BadInput, match="step"):
        client.order_rollout(rollout.id, "pause", step=1, reason="why not")
    with pytest.raises(Outdated, match=r"is at step 2 \(50 %\), not at step 1"):
        client.order_rollout(rollout.id, "advance", step=0, reason="why not")
    assert client.rollout(rollout.id).rollout.step == 1


def test_whoever_promotes_elsewhere_orders_nothing_here_and_a_viewer_reads(settings: Settings) -> None:
    rollout = rolled_out(settings)
    roles = json.dumps({f"group:{role}": [role] for role in ("promoter:staging", "promoter:prod", "viewer")})
    with issuing() as issuer:
        known = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": roles, "public_reads": False}
        with serving(settings.model_copy(update=known)) as url, httpx.Client(base_url=url) as client:
            answers = {
                role: [
                    client.request(
                        method,
                        f"/ai-infra/rollouts/{rollout.id}{path}",
                        headers={"Authorization": f"Bearer {issuer.token(groups=[role])}"},
                        json=body,
                    ).status_code
                    for method, path, body in (("GET", "/page", None), ("GET", "", None), ("POST", "/pause", {"reason": "a game"}))
                ]
                for role in ("viewer", "promoter:staging", "promoter:prod")
            }
    assert answers == {"viewer": [200, 200, 403], "promoter:staging": [200, 200, 403], "promoter:prod": [200, 200, 200]}


def test_the_page_shows_the_plot_and_runs_and_fetches_nothing(settings: Settings, client: Client) -> None:
    rollout = rolled_out(settings)
    observed(settings, rollout, (950, 9), (50, 40))
    looked(settings, rollout, 1)
    answer = httpx.get(f"{client._connection.url}/ai-infra/rollouts/{rollout.id}/page")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "rainfall:2 was sent back from prod." in answer.text and "<svg" in answer.text
    assert "script" not in answer.text and " style=" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and policy.count("sha256-") == 2
    assert client.rollout_page(rollout.id) != "" and "aiinfra rollout pause" not in answer.text


def test_the_command_line_shows_and_steers_a_rollout_here(installation: Settings, run: Run, tmp_path: Path) -> None:
    assert run("rollout list").out == "Nothing was rolled out here.\n"
    rollout = rolled_out(installation)
    observed(installation, rollout, (950, 9), (50, 1))
    assert "look 1, hold: " in run("rollout look rainfall@prod").out
    assert f"Next: aiinfra rollout show {rollout.id}" in run("rollout list rainfall --open").out
    assert re.search(r"rainfall:2 +rainfall:1 +prod +5 % +running", run("status").out)
    assert f"Next: aiinfra rollout show {rollout.id}" in run("models show rainfall").out.replace("rainfall@prod", str(rollout.id))
    assert run("status --json").json["rollouts"][0]["challengerVersion"] == 2
    shown = run(f"rollout show rainfall@production --plot {tmp_path / 'plot.svg'} --page {tmp_path / 'page.html'}")
    assert "rainfall:2 has 5 % of the traffic of prod, rainfall:1 the rest; step 1 of 3." in shown.out
    assert f"Next: aiinfra rollout pause {rollout.id} --reason WHY" in shown.out
    assert (tmp_path / "plot.svg").read_text().startswith("<svg ")
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert "is paused" in run("rollout pause rainfall@prod --reason 'a game' --ordered-by ada").out
    assert "advances again" in run("rollout resume rainfall@prod --reason over").out
    advanced = run("rollout advance rainfall@prod --reason fine")
    assert "advanced without waiting for evidence, from 5 % to 50 %." in advanced.out, advanced
    again = run("rollout advance rainfall@prod --reason fine --step 1")
    assert (again.code, "is at step 2 (50 %), not at step 1; look at it and order again" in again.error) == (2, True)
    assert "With --request-id say --step too" in run("rollout advance rainfall@prod --reason fine --request-id once").error
    assert "--step counts from 1" in run("rollout advance rainfall@prod --reason fine --step 0").error
    assert "all traffic is back" in run("rollout abort rainfall@prod --reason complaints").out
    assert [one["action"] for one in run("rollout show rainfall@prod --json").json["orders"]] == ["pause", "resume", "advance", "abort"]
    late = run("rollout pause rainfall@prod --reason late")
    assert late.code == 2 and "aborted" in late.error


def test_the_command_line_looks_until_none_is_open(installation: Settings, run: Run) -> None:
    rollout = rolled_out(installation)
    observed(installation, rollout, (950, 9), (50, 40))
    ran = run("rollout run --until-none")
    assert (ran.code, "rainfall in prod, 0 %: look 1, rollback: " in ran.out) == (0, True), ran.out
    assert run("rollout list --json").json[0]["status"] == "rolled_back"


def test_the_command_line_says_what_it_needs(installation: Settings, run: Run) -> None:
    assert run("rollout show rain").code == 2
    assert run("rollout show rain@prod").error == "There is no rollout of rain in prod; see: aiinfra rollout list"
    assert run(f"rollout show {UUID(int=0)}").error == f"There is no rollout {UUID(int=0)}."
    assert run("rollout look").out == "No rollout is due.\n"
    assert run("rollout run --until-none").out == "Looking at rollouts when they are due.\n"


def test_the_command_line_does_the_same_at_a_service(installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = rolled_out(installation)
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
    with serving(open_to_debug(installation)) as url:
        assert run(f"rollout list --server {url} --json").json[0]["id"] == str(rollout.id)
        for _ in range(2):
            done = run(f"rollout advance rainfall@prod --reason fine --step 1 --request-id once --server {url} --json")
            assert done.json["weight"] == 5000
        assert "is paused" in run(f"rollout pause rainfall@prod --reason 'a game' --server {url}").out
        assert json.loads(run(f"rollout show rainfall@prod --server {url} --json").out)["rollout"]["status"] == "paused"
        assert run(f"rollout abort rainfall@prod --reason x --ordered-by ada --server {url}").code == 2
