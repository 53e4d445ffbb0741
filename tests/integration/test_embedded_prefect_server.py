"""The local Prefect server: one for each home, reused, stopped; and no signal for a process that only has its number."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from aiinfra_core.embedded import prefect_server
from aiinfra_core.errors import Unavailable
from tests.simulators.s3_servers import wait_until

START = "import sys, pathlib; from aiinfra_core.embedded import prefect_server as p; print(p.start(pathlib.Path(sys.argv[1])))"


@pytest.fixture
def other_home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "other"
    yield folder
    prefect_server.stop(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_home_has_one_server_that_is_reused_until_it_is_stopped(home: Path, other_home: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", START, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    urls = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert urls == {prefect_server.start(home)}
    prefect_server.start(other_home)  # most likely on the same port, which one of them loses

    waited: list[float] = []
    url, other = prefect_server.ensure_running(home, on_wait=waited.append), prefect_server.ensure_running(other_home)
    assert other != url
    assert httpx.get(f"{url}/health").json() is True
    assert "<title>" in httpx.get(url.removesuffix("api")).text
    assert prefect_server.is_running(home)
    assert prefect_server.ensure_running(home) == url
    assert (home / "prefect" / "prefect.db").exists()
    assert waited == sorted(waited)

    assert prefect_server.stop(home)
    assert not prefect_server.is_running(home)
    assert not prefect_server.stop(home)
    assert prefect_server.is_running(other_home)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_cannot_start_says_where_its_log_is(home: Path) -> None:
    (home / "prefect" / "prefect.db").mkdir(parents=True)
    with pytest.raises(Unavailable, match=str(home / "prefect" / "server.log")) as failure:
        prefect_server.ensure_running(home)
    assert failure.value.part == "prefect_server"


def test_a_port_that_something_else_holds_is_left_alone(home: Path) -> None:
    with socket.socket() as other_program:
        with suppress(OSError):  # held already: just as good
            other_program.bind(("127.0.0.1", 4200))
            other_program.listen()
        url = prefect_server.start(home)
    assert not url.startswith("http://127.0.0.1:4200/")
    assert not prefect_server.is_running(home)
    assert prefect_server.start(home) == url
    assert prefect_server.stop(home)


def test_a_process_that_only_has_the_number_gets_no_signal(home: Path) -> None:
    prefect_server.start(home)
    assert prefect_server.stop(home)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (home / "prefect" / "pid").write_text(str(stranger.pid))
        assert not prefect_server.stop(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_neither_our_secrets_nor_other_prefect_settings_reach_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "hunter2")
    monkeypatch.setenv("PREFECT_API_URL", "https://hunter2.example/api")
    prefect_server.start(home)
    pid = int((home / "prefect" / "pid").read_text())
    wait_until(Path(f"/proc/{pid}/environ").read_bytes)  # it is empty for a moment while the program is put in place
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hunter2" not in environment
    assert b"PREFECT_SERVER_ANALYTICS_ENABLED=false" in environment
    assert b"DO_NOT_TRACK=1" in environment


def test_prefect_is_not_imported() -> None:
    program = "import sys, json, aiinfra_core.embedded.prefect_server; print(json.dumps('prefect' in sys.modules))"
    assert json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout) is False
