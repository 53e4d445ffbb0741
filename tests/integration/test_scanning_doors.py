"""A scan as it is asked for: over HTTP and at the command line."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from aiinfra_core import artifact_store, database, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.registry import scans
from aiinfra_core.settings import Settings
from aiinfra_core.wire.scans import SentScan, sent_scan
from tests.simulators import command_line
from tests.simulators import serialised_models as models
from tests.simulators.command_line import Run
from tests.simulators.service import AS_DEBUG, calling

installation, run = command_line.installation, command_line.run
Register = Callable[..., Artifact]


@pytest.fixture
def register(settings: Settings, tmp_path: Path) -> Register:
    """Give a function that stores bytes and registers them, scanned or not."""

    def registered(model: str, content: bytes, scanned: bool = True) -> Artifact:
        (tmp_path / model).write_bytes(content)
        kept = artifact_store.put(artifact_store.location(settings), tmp_path / model, f"uploads/{uuid4()}")
        asked = RegistrationRequest(model=model, artifact_uri=kept.uri, checksum=kept.checksum, registered_by="rita")
        return registering.register(settings.model_copy(update={"scan": scanned}), asked)

    return registered


def test_the_newest_scan_is_read_over_http(settings: Settings, register: Register) -> None:
    artifact = register("rain", models.malicious())
    register("other", models.safetensors(), False)
    allowed = settings.model_copy(update={"allow_debug_token": True, "debug_token": SecretStr(AS_DEBUG["X-Debug-Token"])})
    with calling(allowed) as client:
        answer, never = client.get(f"/ai-infra/models/{artifact.id}/scan"), client.get("/ai-infra/models/other:1/scan")
    assert (answer.status_code, answer.json()["verdict"]) == (200, "unsafe")
    assert answer.json()["findings"][0]["imports"] == ["posix system"]
    with database.autocommit(settings) as connection:
        kept = scans.newest(connection, artifact.id)
    assert kept is not None
    assert SentScan.model_validate_json(answer.text) == sent_scan(kept)
    assert (never.status_code, "aiinfra scan other:1" in never.text) == (404, True)


def test_the_command_scans_again_and_ends_with_three_where_it_found_something(installation: Settings, register: Register, run: Run) -> None:
    register("rain", models.malicious())
    register("other", models.safetensors())
    bad, good = run("scan rain:1"), run("scan other --json")
    assert (bad.code, "loading it runs code that does harm" in bad.out, "posix system" in bad.out) == (3, True, True)
    assert (good.code, good.json["verdict"], good.json["findings"][0]["format"]) == (0, "no_code", "safetensors")
    assert "Nothing is registered" in run("scan rain:7").error
