"""How Prefect is asked: with its key, which is in no message; a real server is asked in tests/acceptance."""

from uuid import UUID

import pytest
from pydantic import SecretStr

from aiinfra_core import prefect_runs
from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.settings import Settings
from tests.simulators.scripted_server import answers, scripted_server

RUN = UUID(int=7)


def settings(**changes: object) -> Settings:
    return Settings().model_copy(update={"prefect_deployment": "train/train", "prefect_api_url": "https://prefect.example/api", **changes})


def test_the_key_goes_in_the_header_and_into_no_message() -> None:
    with scripted_server(answers(403, b'{"detail": "no"}')) as server:
        asked = settings(prefect_api_url=server.url, prefect_api_key=SecretStr("hunter2"))
        with pytest.raises(Misconfigured, match="does not take PREFECT_API_KEY") as refused:
            prefect_runs.runs(asked, [RUN])
    (received,) = server.requests
    assert received.headers["authorization"] == "Bearer hunter2"
    assert "hunter2" not in str(refused.value) + repr(asked)
    with pytest.raises(Misconfigured, match="printable") as refused:
        prefect_runs.runs(settings(prefect_api_key=SecretStr("hunter2\n")), [RUN])
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'[{"id": "no"}]', b"[7]", b'[{"state": {}}]'])
def test_an_answer_that_is_not_prefects_is_no_state_of_a_run(body: bytes) -> None:
    with scripted_server(answers(200, body)) as server, pytest.raises(Unavailable, match="not one of its API"):
        prefect_runs.runs(settings(prefect_api_url=server.url), [RUN])
