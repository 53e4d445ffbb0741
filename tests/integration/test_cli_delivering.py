"""`audit deliver`, `audit sinks`, `audit replay` and `audit rebuild` as an operator types them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from aiinfra_core.settings import Settings
from tests.simulators import command_line, lost_database
from tests.simulators.audit_events import answering, seqs, tell
from tests.simulators.command_line import Run
from tests.simulators.lost_database import Lost
from tests.simulators.s3_servers import wait_until
from tests.simulators.scripted_server import answers, scripted_server, unused_url

installation, run, lost = command_line.installation, command_line.run, lost_database.lost
TAKEN = answers(202, b"")


def test_delivering_says_what_each_sink_took_and_a_dead_letter_is_delivered_again(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tell(installation, 5)
    archive = (tmp_path / "archive").as_uri()
    with scripted_server(answering({2: answers(422)}, TAKEN)) as server:
        monkeypatch.setenv("AI_INFRA_AUDIT_SINKS", f"{server.url}/hook-pQ7x, {archive}")
        done = run("audit deliver")
        assert done.code == 0
        assert [line.split()[:3] for line in done.out.splitlines()[1:]] == [[f"{server.url}/…", "4", "1"], [archive, "5", "0"]]
        assert "aiinfra audit replay --sink SINK --dead" in done.err
        shown = run("audit sinks")
        assert "pQ7x" not in shown.out + done.out + done.err
        command = next(line for line in shown.out.splitlines() if line.startswith("Next: aiinfra ")).removeprefix("Next: aiinfra ")
        assert run(command).code == 3
        server.script = [TAKEN]
        again = run(f"{command} --json")
    assert (again.code, again.json["delivered"], again.json["refused"]) == (0, 1, 0)
    standing = run("audit sinks --json").json
    assert [(one["deliveredSeq"], one["lag"], one["deadLetters"], one["failures"], one["lastError"]) for one in standing] == [
        (5, 0, 0, 0, None)
    ] * 2


def test_a_sink_that_is_down_ends_in_exit_code_4_and_says_why_and_when(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(installation, 2)
    monkeypatch.setenv("AI_INFRA_AUDIT_SINKS", unused_url())
    assert run("audit deliver").code == 4
    assert "waits for the time of its next try" in run("audit deliver").err
    assert "failed (ConnectError" in run("audit deliver --now").out
    (standing,) = run("audit sinks --json").json
    assert (standing["lag"], standing["failures"]) == (2, 2)
    assert standing["retryAt"]
    assert "ConnectError" in run("audit sinks").out


def test_without_sinks_the_setting_is_named(installation: Settings, run: Run) -> None:
    for line in ("audit deliver", "audit sinks"):
        assert run(line).out == "No sink is configured; set AI_INFRA_AUDIT_SINKS.\n"


def test_an_unknown_sink_is_refused(installation: Settings, run: Run) -> None:
    refused = run("audit replay --sink http://nowhere")
    assert (refused.code, refused.error) == (2, "No configured sink has that address or id; see: aiinfra audit sinks")


def test_a_database_is_rebuilt_and_verifies(lost: Lost, installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    full = run(f"audit rebuild --from {lost.address}")
    assert full.code == 2
    assert "The database is not empty: there are rows in approval_withdrawals, approvals, artifact_scans, artifact_tombstones" in full.error
    assert isinstance(lost.empty.database_url, SecretStr)
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", lost.empty.database_url.get_secret_value())
    done = run(f"audit rebuild --from {lost.address}")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].startswith(f"Rebuilt: {len(lost.entries())} events, 1 checkpoints agree, ")
    assert done.out.splitlines()[-1] == "Next: aiinfra audit verify"
    assert run("verify").code == 0


def test_a_refused_rebuild_is_one_line_and_exit_code_5(
    lost: Lost, installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lost.empty.database_url is not None
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", lost.empty.database_url.get_secret_value())
    lost.entries()[3].unlink()
    refused = run(f"audit rebuild --from {lost.address} --json")
    assert (refused.code, refused.out) == (5, "")
    assert "seq 4 is missing from the archive" in refused.error
    assert run(f"audit rebuild --from {lost.address} --checkpoint /nowhere").error == "/nowhere cannot be read: No such file or directory."
    assert run("audit rebuild --from ftp://x").error == "--from must be file:///directory or s3://bucket/prefix."


def test_an_interrupted_delivery_ends_at_once_and_the_next_one_continues(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(installation, 100)
    with scripted_server(TAKEN) as server:
        server.on_request = lambda: time.sleep(0.1)
        monkeypatch.setenv("AI_INFRA_AUDIT_SINKS", server.url)
        code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(['audit', 'deliver']))"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: len(server.requests) > 2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=5)
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        sent = len(server.requests)
        assert sent < 90
        server.on_request = lambda: None
        assert run("audit deliver").code == 0
    assert seqs(server) == list(range(1, 101))
