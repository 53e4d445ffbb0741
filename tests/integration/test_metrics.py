"""`/metrics`: the names people's dashboards know, counted once however many workers there are, and who may see them."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import Connection

from aiinfra_core import jobs, measurements
from aiinfra_core.audit_log.figures import Figures, figures
from aiinfra_core.http_api.routes import metrics
from aiinfra_core.settings import Settings
from tests import factories
from tests.simulators.figures import samples
from tests.simulators.http_story import MODELS, PROMOTE, open_to_debug, registered, stored
from tests.simulators.served import PROJECT, environment, started, wait_until
from tests.simulators.service import calling, serving

NAMES = {
    "ai_infra_training_job_duration_seconds",
    "ai_infra_artifact_registration_latency_seconds",
    "ai_infra_promotion_latency_seconds",
    "ai_infra_manifest_sign_latency_seconds",
    "ai_infra_promotions",
    "ai_infra_canary_rollbacks",
    "ai_infra_rollout_oldest_look_seconds",
    "ai_infra_drift_suggestions",
    "ai_infra_http_request_duration_seconds",
    "ai_infra_audit_outbox_waiting",
    "ai_infra_audit_log_events",
    "ai_infra_audit_log_uncovered_events",
    "ai_infra_audit_sink_lag_events",
    "ai_infra_database_up",
}


def read(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Return the samples of now."""
    return samples(client.get("/metrics").text)


def test_everything_is_there_under_its_name_and_what_happened_is_counted_by_its_route(settings: Settings, tmp_path: Path) -> None:
    with calling(open_to_debug(settings)) as api:
        before = read(api)
        artifact = registered(api, stored(settings, tmp_path))
        for quality, status in ((0.95, "applied"), (0.5, "rejected")):
            asked = {"artifactId": artifact, "environment": "staging", "evaluation": {"quality": quality}}
            assert api.post(PROMOTE, json=asked).json()["status"] == status
        assert api.get(f"{MODELS}/{artifact}").status_code == 200
        assert api.get("/a/secret/path").status_code == 404
        assert api.get(f"{MODELS}/{artifact}", headers={"X-Debug-Token": "wrong"}).status_code == 401
        text = api.get("/metrics").text
    assert {family.name for family in text_string_to_metric_families(text)} >= NAMES
    assert artifact not in text
    assert "secret" not in text
    after = samples(text)
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    http = "ai_infra_http_request_duration_seconds_count"
    assert grown["ai_infra_artifact_registration_latency_seconds_count",] == 1
    assert grown["ai_infra_promotion_latency_seconds_count",] == 2
    assert grown["ai_infra_manifest_sign_latency_seconds_count",] == 1
    assert (grown["ai_infra_promotions_total", "applied"], grown["ai_infra_promotions_total", "rejected"]) == (1, 1)
    assert grown[http, "GET", "/ai-infra/models/{id}", "200"] == 1
    assert grown[http, "GET", "/ai-infra/models/{id}", "401"] == 1
    assert grown[http, "GET", "unmatched", "404"] == 1
    assert grown[http, "POST", "/ai-infra/promote", "200"] == 2
    assert (after["ai_infra_canary_rollbacks_total",], after["ai_infra_drift_suggestions_total",]) == (0, 0)


def test_however_many_ask_the_database_is_asked_once_and_again_when_its_answer_is_old(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(connection: Connection) -> Figures:
        asked.append(time.monotonic())
        return figures(connection)

    def events(found: dict[tuple[str, ...], float]) -> float:
        return found["ai_infra_audit_log_events",] + found["ai_infra_audit_outbox_waiting",]

    monkeypatch.setattr(metrics, "figures", counted)
    with calling(open_to_debug(settings)) as api, ThreadPoolExecutor(12) as pool:
        assert {events(found) for found in pool.map(lambda _: read(api), range(12))} == {0}
        assert len(asked) == 1
        registered(api, stored(settings, tmp_path))
        while events(read(api)) == 0:
            assert time.monotonic() < asked[0] + 30
            time.sleep(0.1)
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 2


def test_a_training_is_counted_by_how_it_ended(settings: Settings, tmp_path: Path) -> None:
    measurements.keep()
    with calling(open_to_debug(settings)) as api:
        before = read(api)
        spec = factories.training_spec(factories.make_training_repository(tmp_path / "code"))
        jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
        jobs.train(settings, spec.model_copy(update={"entry_point": "fail.py"}), requested_by="tess", on_output=lambda _: None)
        after = read(api)
    name = "ai_infra_training_job_duration_seconds_count"
    assert [after[name, status] - before.get((name, status), 0) for status in ("completed", "failed")] == [1, 1]


def test_an_odd_method_does_not_become_a_label(settings: Settings) -> None:
    with calling(open_to_debug(settings)) as api:
        api.request("BREW", "/health")
        assert not any("BREW" in key for key in read(api))


def test_who_may_see_them(settings: Settings) -> None:
    closed = open_to_debug(settings, public_reads=False)
    with calling(closed) as api:
        assert api.get("/metrics").status_code == 200
        assert httpx.get(api.base_url.join("/metrics")).status_code == 401
    for env, status in (("development", 200), ("staging", 200), ("production", 401)):
        with serving(settings.model_copy(update={"public_reads": True, "env": env})) as url:
            assert httpx.get(f"{url}/metrics").status_code == status, env


def test_a_database_that_is_gone_takes_only_its_own_figures_with_it(settings: Settings) -> None:
    with serving(settings.model_copy(update={"database_url": SecretStr("postgresql://u@127.0.0.1:1/none")})) as url:
        found = samples(httpx.get(f"{url}/metrics", timeout=30).text)
    assert found["ai_infra_database_up",] == 0
    assert ("ai_infra_audit_log_events",) not in found
    assert ("ai_infra_canary_rollbacks_total",) not in found
    assert ("ai_infra_drift_suggestions_total",) in found


def test_the_lag_of_a_sink_is_told_without_its_address(settings: Settings) -> None:
    hook = "https://hooks.example/a-path-that-is-secret"
    with serving(settings.model_copy(update={"audit_sinks": (hook,)})) as url:
        text = httpx.get(f"{url}/metrics", timeout=30).text
    assert "ai_infra_audit_sink_lag_events{" in text
    assert "https://hooks.example/" in text
    assert "a-path-that-is-secret" not in text


def test_workers_are_counted_together_and_one_that_died_is_not_forgotten(settings: Settings, tmp_path: Path) -> None:
    name = ("ai_infra_http_request_duration_seconds_count", "GET", "/health", "200")
    with started(tmp_path / "served", environment(settings)) as served:

        def ask(times: int) -> None:
            for _ in range(times):  # each over a connection of its own, so that both workers get some
                assert httpx.get(f"{served.url}/health").status_code == 200

        def counted() -> float:
            return samples(httpx.get(f"{served.url}/metrics").text).get(name, 0)

        ask(40)
        assert counted() == 40
        files = Path(f"/proc/{served.process.pid}/environ").read_bytes()
        assert b"PROMETHEUS" not in files  # it is no setting: the folder is the service's own
        for killed in served.workers:
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: len(served.workers) == 2 and killed not in served.workers, served)  # type: ignore[misc]
        ask(10)
        assert counted() == 50
        assert served.end() == 0


def test_counting_costs_a_command_nothing() -> None:
    code = (
        "import sys; from aiinfra_core import promoting, registering, jobs, measurements; measurements.promotion_ended('applied');"
        "print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout == "False\n"
