"""`aiinfra serve` as a process: it starts, says where it is, replaces what dies, drains, and ends with the right code."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from aiinfra_core import jobs
from aiinfra_core.cli import app
from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api import server
from aiinfra_core.settings import Settings
from tests import factories
from tests.simulators import command_line
from tests.simulators.certificates import Authority, Issued, client_tls
from tests.simulators.command_line import Run
from tests.simulators.figures import samples
from tests.simulators.served import PROJECT, Served, environment, started, wait_until

installation, run = command_line.installation, command_line.run


def _locked_jobs(settings: Settings) -> psycopg.Connection:
    """Return a connection that holds every read of the jobs up until it is closed."""
    assert settings.database_url is not None
    holder = psycopg.connect(settings.database_url.get_secret_value())
    holder.execute("LOCK TABLE training_jobs IN ACCESS EXCLUSIVE MODE")
    return holder


def _is_held_up(holder: psycopg.Connection) -> bool:
    waiting = holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return waiting is not None and waiting[0] > 0


def _refused(served: Served) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_says_where_it_is_and_what_to_type_next_and_a_worker_that_is_killed_is_replaced(settings: Settings, tmp_path: Path) -> None:
    with started(tmp_path / "served", environment(settings)) as served:
        assert f"Next: curl {served.url}/ai-infra/models\n" in served.out.read_text()
        assert "Nobody can write" not in served.out.read_text()
        assert len(served.workers) == 2
        killed = served.workers[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(served.workers) == 2 and killed not in served.workers, served)
        with served.client() as client:
            assert [client.get(path).status_code for path in ("/health", "/ai-infra/models", "/nowhere")] == [200, 200, 404]
        assert any("ended with -9 and is replaced" in line["message"] for line in served.log)
        assert served.end() == 0
        assert "Traceback" not in served.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_before_it_ends_and_new_ones_are_refused(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path / "served", environment(settings)) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        assert client.get("/health").headers.get("connection") is None
        with _locked_jobs(settings) as holder:
            slow = pool.submit(client.get, "/ai-infra/jobs")
            wait_until(lambda: _is_held_up(holder), served)
            served.process.send_signal(number)
            wait_until(lambda: _refused(served), served)
            assert not slow.done()
        answer = slow.result()
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert served.process.wait(20) == 0


def test_what_takes_longer_than_the_drain_is_cut_and_the_exit_code_says_so(settings: Settings, tmp_path: Path) -> None:
    variables = environment(settings, AI_INFRA_DRAIN_SECONDS="0.5")
    with started(tmp_path / "served", variables) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        with _locked_jobs(settings) as holder:
            slow = pool.submit(client.get, "/ai-infra/jobs")
            wait_until(lambda: _is_held_up(holder), served)
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(25) == 130
        assert (slow.result().status_code, slow.result().headers["retry-after"]) == (503, "1")
        assert "Traceback" not in served.err.read_text()


def test_a_second_signal_ends_it_at_once(settings: Settings, tmp_path: Path) -> None:
    with started(tmp_path / "served", environment(settings)) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        with _locked_jobs(settings) as holder:
            slow = pool.submit(client.get, "/ai-infra/jobs")
            wait_until(lambda: _is_held_up(holder), served)
            served.process.send_signal(signal.SIGTERM)
            wait_until(lambda: _refused(served), served)
            begun_at = time.monotonic()
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(10) == 130
            assert time.monotonic() - begun_at < 5
        assert isinstance(slow.exception(), httpx.TransportError)


def test_a_signal_that_comes_twice_at_once_is_one_and_cuts_nothing(settings: Settings, tmp_path: Path) -> None:
    with started(tmp_path / "served", environment(settings)) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        with _locked_jobs(settings) as holder:
            slow = pool.submit(client.get, "/ai-infra/jobs")
            wait_until(lambda: _is_held_up(holder), served)
            served.process.send_signal(signal.SIGTERM)
            os.killpg(served.process.pid, signal.SIGTERM)  # as `timeout` does
            wait_until(lambda: _refused(served), served)
            time.sleep(0.2)
            assert not slow.done()
        assert slow.result().status_code == 200
        assert served.process.wait(20) == 0
        assert "cut off" not in served.err.read_text()


def test_workers_whose_supervisor_is_killed_end_by_themselves(settings: Settings, tmp_path: Path) -> None:
    with started(tmp_path / "served", environment(settings)) as served:
        workers = served.workers
        served.process.kill()
        served.process.wait()
        wait_until(lambda: not any(_is_alive(pid) for pid in workers))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_runner_beside_the_workers_trains_what_is_asked_for_and_is_replaced_when_it_is_killed(settings: Settings, tmp_path: Path) -> None:
    code_ref = factories.make_training_repository(tmp_path / "code")
    spec = factories.training_spec(code_ref).model_dump(mode="json", by_alias=True)
    asked = {name: spec[name] for name in ("model", "codeRef", "containerDigest", "entryPoint", "seed")}
    with started(tmp_path / "served", environment(settings), "--workers", "1", "--run-runner") as served, served.client() as client:
        assert "with 1 worker and a runner" in served.out.read_text()
        runner = served.workers[-1]
        os.kill(runner, signal.SIGKILL)
        wait_until(lambda: len(served.workers) == 2 and runner not in served.workers, served)
        job = client.post("/ai-infra/train", json=asked)
        assert job.status_code == 201, job.text
        wait_until(lambda: client.get("/ai-infra/models").json() != [], served)
        (artifact,) = client.get("/ai-infra/models").json()
        assert (artifact["trainingJobId"], artifact["provenance"]) == (job.json()["id"], "trained")
        wait_until(lambda: any("jobId" in line for line in served.log), served)
        trained = samples(client.get("/metrics").text)
        assert trained["ai_infra_training_job_duration_seconds_count", "completed"] == 1
        assert served.end() == 0


def test_a_runner_of_its_own_tells_of_each_job_in_one_line_of_the_service_s_log(settings: Settings, tmp_path: Path) -> None:
    spec = factories.training_spec(factories.make_training_repository(tmp_path / "code"))
    asked = [spec, spec.model_copy(update={"entry_point": "fail.py"})]
    ids = [str(jobs.request_training(settings, one, requested_by="tess")) for one in asked]
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(['runner']))"
    log = tmp_path / "runner.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment(settings), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=errors
        ) as process,
    ):
        try:
            wait_until(lambda: log.read_text().count('"jobId"') == 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    told = [json.loads(line) for line in log.read_text().splitlines() if '"jobId"' in line]
    assert [(line["level"], line["jobId"], line["model"], line["status"]) for line in told] == [
        ("INFO", ids[0], spec.model, "completed"),
        ("INFO", ids[1], spec.model, "failed"),
    ]
    assert all(0 < line["seconds"] < 60 for line in told)


def test_serving_from_a_local_store_loads_no_heavy_library(settings: Settings, tmp_path: Path) -> None:
    heavy = ("s3fs", "aiobotocore", "botocore", "tuf", "prefect", "cyclonedx", "opentelemetry.sdk", "numpy", "pyarrow")
    code = (
        "import sys; from aiinfra_core.cli import serving; from aiinfra_core.http_api import server, starting;"
        "from aiinfra_core.audit_log import looking_after; from aiinfra_core.settings import Settings;"
        f"server.create_app(Settings()); print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout == "[]\n"


def test_with_nothing_configured_it_serves_on_the_embedded_default(tmp_path: Path, home: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if name != "AI_INFRA_ADDR"}
    with started(tmp_path / "served", plain, "--workers", "1") as served:
        assert httpx.get(f"{served.url}/ai-infra/models", timeout=30).json() == []
        assert set(httpx.get(f"{served.url}/readyz", timeout=30).json()["parts"].values()) == {"ok"}
        assert "Nobody can write yet: set AI_INFRA_ALLOW_DEBUG_TOKEN=true" in served.out.read_text()
        nothing = httpx.get(served.url, timeout=30)
        assert (nothing.status_code, "/docs" in nothing.json()["detail"], "/openapi.json" in nothing.json()["detail"]) == (404, True, True)
        assert httpx.post(f"{served.url}/ai-infra/train", json={}, timeout=30).status_code == 401
        assert served.end() == 0


def test_over_tls_the_application_sees_the_certificate_of_the_client_and_old_versions_are_refused(
    settings: Settings, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    own = authority.server()
    flags = ("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--tls-client-ca", str(authority.cert))
    variables = environment(settings, AI_INFRA_PUBLIC_READS="false", AI_INFRA_ROLES='{"cert:CN=robot,O=Example%20Corp": ["viewer"]}')
    with started(tmp_path / "served", variables, *flags) as served:
        assert f"curl --cacert {own.cert} https://" in served.out.read_text()
        assert [_status(served, authority, one) for one in (authority.client("robot"), authority.client("other"), None)] == [200, 403, 401]
        with pytest.raises(httpx.TransportError):
            _status(served, authority, stranger.client("robot"))
        old = client_tls(authority)
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.url}/health", verify=old)
        assert served.end() == 0


def _status(served: Served, authority: Authority, own: Issued | None) -> int:
    return httpx.get(f"{served.url}/ai-infra/models", verify=client_tls(authority, own), timeout=30).status_code


def test_addresses_are_read_as_people_write_them() -> None:
    assert [server.address(text) for text in (":8061", "127.0.0.1:0", "[::1]:80", "example.org:443")] == [
        ("", 8061),
        ("127.0.0.1", 0),
        ("::1", 80),
        ("example.org", 443),
    ]
    for wrong in ("8061", "::1:80", "host:", ":99999", ":٣"):
        with pytest.raises(Misconfigured):
            server.address(wrong)


def test_what_is_no_http_and_heads_without_end_are_turned_away(settings: Settings, tmp_path: Path) -> None:
    with started(tmp_path / "served", environment(settings), "--workers", "1") as served:
        port = int(served.url.rpartition(":")[2])
        assert b" 400 " in _talk(port, b"\x16\x03\x01nonsense\r\n\r\n")
        assert b" 431 " in _talk(port, b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(200)))
        assert b" 431 " in _talk(port, b"GET /" + b"a" * 400_000)
        assert httpx.get(f"{served.url}/health").status_code == 200


def _talk(port: int, said: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        threading.Thread(target=_send, args=(connection, said), daemon=True).start()
        heard = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(4096):
                heard += part
        return heard


def _send(connection: socket.socket, said: bytes) -> None:
    with suppress(OSError):
        connection.sendall(said)


def test_the_command_line_names_its_flags(run: Run) -> None:
    shown = run("serve --help").out
    assert all(flag in shown for flag in ("--addr", "--workers", "--run-runner", "--tls-cert", "--tls-key", "--tls-client-ca"))
    assert "serve" in app.COMMANDS
