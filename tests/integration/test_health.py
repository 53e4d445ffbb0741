"""`/health`, `/livez` and `/readyz`: cheap, bounded, open to everybody, and each part that is not there is named without a secret."""

import base64
import shutil
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from aiinfra_core.http_api import readiness
from aiinfra_core.settings import Settings
from tests.simulators import kms_proxy
from tests.simulators.service import serving

ALL_OK = {"database": "ok", "migrations": "ok", "signer": "ok", "store": "ok"}


def _ready(url: str) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"{url}/readyz", timeout=30)
    return answer.status_code, answer.json()["parts"]


def test_health_and_life_need_nothing_and_nobody(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://u:hunter2@127.0.0.1:1/none"), "public_reads": False})
    with serving(nowhere) as url:
        answer = httpx.get(f"{url}/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        before, alive, after = datetime.now(UTC), httpx.get(f"{url}/livez").json(), datetime.now(UTC)
        assert alive["status"] == "ok" and before <= datetime.fromisoformat(alive["time"]) <= after
        code, parts = _ready(url)
        assert (code, parts["database"], parts["migrations"], parts["signer"], parts["store"]) == (
            503,
            "unavailable; the log says why",
            "unavailable; the log says why",
            "ok",
            "ok",
        )
        assert "hunter2" not in httpx.get(f"{url}/readyz").text


def test_with_every_part_there_it_is_ready_and_nobody_keeps_that_answer(settings: Settings) -> None:
    with serving(settings) as url:
        assert _ready(url) == (200, ALL_OK)
        assert httpx.get(f"{url}/readyz").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM aiinfra_migrations WHERE name LIKE '003%'", "INSERT INTO aiinfra_migrations (name) VALUES ('999_of_tomorrow')"],
)
def test_a_database_older_or_newer_than_this_release_is_not_ready(settings: Settings, statement: str) -> None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(statement)
    with serving(settings) as url:
        assert _ready(url) == (503, ALL_OK | {"migrations": "misconfigured; the log says how"})


def test_a_signer_that_does_not_answer_is_named(settings: Settings) -> None:
    key = Ed25519PrivateKey.generate()
    with kms_proxy.serve(kms_proxy.signs(key)) as kms:
        public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        remote = settings.model_copy(
            update={
                "signer_key_b64": None,
                "signer_id": None,
                "kms_endpoint": kms.url,
                "kms_public_key_b64": public,
                "kms_timeout_seconds": 0.3,
            }
        )
        with serving(remote) as url:
            assert _ready(url) == (200, ALL_OK)
    with serving(remote) as url:
        assert _ready(url) == (503, ALL_OK | {"signer": "unavailable; the log says why"})


def test_a_store_that_is_no_folder_is_named_and_is_ready_again_when_it_is_one(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "artifacts"
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("a file")
    with serving(settings) as url:
        assert _ready(url) == (503, ALL_OK | {"store": "unavailable; the log says why"})
        place.unlink()
        time.sleep(1.1)
        assert _ready(url) == (200, ALL_OK)


def test_an_answer_is_bounded_in_time_though_a_part_hangs_and_the_loop_is_free_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "WAIT_SECONDS", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    hanging = settings.model_copy(update={"database_url": SecretStr(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/none")})
    with serving(hanging) as url, silent:
        found: list[tuple[int, dict[str, str]]] = []
        asking = threading.Thread(target=lambda: found.append(_ready(url)))
        begun = time.monotonic()
        asking.start()
        assert httpx.get(f"{url}/livez").status_code == 200
        assert asking.is_alive()
        asking.join()
        assert time.monotonic() - begun < 3
        assert found[0][0] == 503
        assert found[0][1]["database"] == "no answer within 0.5 s"
