"""What tests of the writes over HTTP share: settings that let the debug token in, bytes to register, and what a problem looks like."""

from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from aiinfra_core import artifact_store
from aiinfra_core.settings import Settings
from tests.simulators.service import AS_DEBUG

TRAIN, REGISTER, PROMOTE, MODELS = "/ai-infra/train", "/ai-infra/register", "/ai-infra/promote", "/ai-infra/models"


def open_to_debug(settings: Settings, **changes: object) -> Settings:
    """Return settings that let the debug token of the tests in."""
    return settings.model_copy(update={"allow_debug_token": True, "debug_token": SecretStr(AS_DEBUG["X-Debug-Token"]), **changes})


def stored(settings: Settings, folder: Path, content: str = "weights", model: str = "rainfall") -> dict[str, Any]:
    """Put some bytes into the store; return what a registration of them asks for."""
    source = folder / f"{content}.bin"
    source.write_text(content)
    kept = artifact_store.put(artifact_store.location(settings), source, f"uploads/{content}")
    return {"model": model, "artifactUri": kept.uri, "checksum": kept.checksum, "metadata": {}}


def registered(api: httpx.Client, body: dict[str, Any]) -> str:
    """Register and return the artifact's id."""
    answer = api.post(REGISTER, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def is_problem(answer: httpx.Response, status: int, text: str = "") -> bool:
    """See that an answer is a problem of this status whose text holds this."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body = answer.json()
    assert all(isinstance(body[name], str) for name in ("type", "title", "detail", "error", "code")), body
    assert text in body["error"]
    return bool(body["error"] == body["detail"] and body["status"] == status)
