"""Which deployment trains, and where its runs are shown; a real server is asked in tests/acceptance."""

from uuid import UUID

import pytest

from aiinfra_core import prefect_runs
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings

RUN = UUID(int=7)


def settings(**changes: object) -> Settings:
    return Settings().model_copy(update={"prefect_deployment": "train/train", "prefect_api_url": "https://prefect.example/api", **changes})


def test_a_deployment_needs_to_be_told_where_prefect_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("AI_INFRA_PREFECT_DEPLOYMENT", "train/train")
    with pytest.raises(Misconfigured, match="PREFECT_API_URL must say where Prefect is"):
        Settings()
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    assert Settings().prefect_deployment == "train/train"


@pytest.mark.parametrize("name", ["train", "a/b/c", "train/", "/train", "train /train"])
def test_a_deployment_is_named_by_flow_and_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    monkeypatch.setenv("AI_INFRA_PREFECT_DEPLOYMENT", name)
    with pytest.raises(Misconfigured, match="AI_INFRA_PREFECT_DEPLOYMENT"):
        Settings()


def test_a_run_is_shown_beside_the_api_or_where_prefect_says() -> None:
    assert prefect_runs.address_of(settings(), RUN) == f"https://prefect.example/runs/flow-run/{RUN}"
    elsewhere = settings(prefect_ui_url="https://ui.example/")
    assert prefect_runs.address_of(elsewhere, RUN) == f"https://ui.example/runs/flow-run/{RUN}"
    assert prefect_runs.address_of(settings(prefect_api_url=None), RUN) is None
