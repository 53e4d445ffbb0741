"""Executors of one's own through the client: jobs under leases, and the examples of docs/client.md, done as they stand there."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import running
from aiinfra_core.client import Client
from aiinfra_core.errors import Conflict
from aiinfra_core.settings import Settings
from tests import factories
from tests.simulators.http_story import open_to_debug, stored
from tests.simulators.service import AS_DEBUG, serving

TOKEN = AS_DEBUG["X-Debug-Token"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with serving(settings) as url, Client(url, debug_token=TOKEN) as client:
        yield client


def test_a_job_is_run_under_a_lease_that_is_kept_alive_and_ends_in_a_version(
    client: Client, settings: Settings, code_ref: str, tmp_path: Path
) -> None:
    assert client.claim() is None
    queued = client.train(factories.training_spec(code_ref, model="rain"))
    assert client.claim(models=["snow"]) is None
    claim = client.claim(lease_seconds=5)
    assert claim is not None
    assert claim.job.id == queued.id
    assert claim.lease.token is not None
    with client.leased(claim) as lease:
        before = client.job(queued.id).lease_expires_at
        time.sleep(claim.lease.heartbeat_seconds + 0.5)
        after = client.job(queued.id).lease_expires_at
        assert before is not None
        assert after is not None
        assert after > before
        kept = stored(settings, tmp_path)
        made = {"artifact_uri": kept["artifactUri"], "checksum": kept["checksum"], "metrics": {"quality": 0.93}}
        outcome = lease.complete(**made)
        assert claim.lease.token not in f"{lease!r} {claim!r} {vars(client)}"
    assert (outcome.job.status, outcome.artifact.version, outcome.artifact.training_job_id) == ("completed", 1, queued.id)
    assert (
        client.complete(
            queued.id, claim.lease.token, artifact_uri=kept["artifactUri"], checksum=kept["checksum"], metrics={"quality": 0.93}
        )
        == outcome
    )


def test_a_block_that_breaks_off_gives_the_job_back_and_a_failure_is_recorded(client: Client, code_ref: str) -> None:
    queued = client.train(factories.training_spec(code_ref, model="rain"))
    claim = client.claim()
    assert claim is not None
    with pytest.raises(KeyboardInterrupt), client.leased(claim):
        raise KeyboardInterrupt
    assert client.job(queued.id).status == "queued"
    with pytest.raises(Conflict):
        client.heartbeat(queued.id, claim.lease.token or "")
    again = client.claim()
    assert again is not None
    with client.leased(again) as lease:
        lease.fail("The data has no rows.", exit_code=1)
    failed = client.job(queued.id)
    assert (failed.status, failed.error, failed.exit_code) == ("failed", "The data has no rows.", 1)


def test_a_lease_that_is_somebody_elses_is_told_to_whoever_runs_the_job(client: Client, code_ref: str) -> None:
    client.train(factories.training_spec(code_ref, model="rain"))
    claim = client.claim(lease_seconds=5)
    assert claim is not None
    with client.leased(claim) as lease:
        client.release(claim.job.id, claim.lease.token or "")
        assert lease.lost.wait(claim.lease.heartbeat_seconds + 5)
    assert client.job(claim.job.id).status == "queued"


def test_the_examples_of_the_documentation_do_what_they_say(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text()
    story, executor = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    kept = stored(settings, tmp_path)
    names: dict[str, Any] = {"train_and_upload": lambda _job: (kept["artifactUri"], kept["checksum"])}
    with serving(settings) as url:
        monkeypatch.setenv("AI_INFRA_SERVER", url)
        monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", TOKEN)
        stop = threading.Event()
        runner = threading.Thread(target=running.run, args=(settings, stop))
        runner.start()
        try:
            exec(compile(story, "docs/client.md", "exec"), names)  # noqa: S102 - our own page
        finally:
            stop.set()
            runner.join()
        told = capsys.readouterr().out
        assert re.search(r"completed\napplied .*\n1 [0-9a-f]{64} trained\n", told)
        with Client.from_environment() as client:
            client.train(names["spec"].model_copy(update={"model": "snowfall"}))
        exec(compile(executor, "docs/client.md", "exec"), names)  # noqa: S102 - our own page
    assert capsys.readouterr().out == "snowfall 1\n"
