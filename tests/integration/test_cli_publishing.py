"""`audit checkpoint`, `audit proof`, `audit run`, and that every command that wrote leaves a published checkpoint."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from aiinfra_core import database
from aiinfra_core.audit_log.sequence import waiting
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence import log_proof
from aiinfra_core.evidence.entry import leaf, read_leaf
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.command_line import Run, train_line
from tests.simulators.long_log import fill
from tests.simulators.s3_servers import wait_until
from tests.simulators.scripted_server import unused_url

installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run
ORIGIN = "ai-infra.local/audit"


def _sizes(settings: Settings) -> list[int]:
    with database.transaction(settings) as tx:
        return list(tx.execute(select(audit_checkpoints.c.size).order_by(audit_checkpoints.c.size)).scalars())


def _published(tmp_path: Path) -> list[int]:
    return sorted(int(path.name) for path in (tmp_path / "artifacts" / "checkpoints" / ORIGIN.replace("/", "_")).iterdir())


def test_every_command_that_wrote_leaves_a_published_checkpoint(installation: Settings, run: Run, repository: Path, tmp_path: Path) -> None:
    sizes = []
    job = run(train_line(repository, "--json")).json["id"]
    for line in (f"register {job}", "evaluate rain", "promote rain --to staging", "models list"):
        sizes.append(_sizes(installation)[-1])
        assert run(line).code == 0
    assert sizes == [3, 5, 6, 11]
    assert _published(tmp_path) == _sizes(installation) == sizes
    with database.transaction(installation) as tx:
        assert waiting(tx) == 0


def test_a_checkpoint_that_cannot_be_published_is_told_and_the_command_has_done_its_work(
    installation: Settings, run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, aws: None
) -> None:
    monkeypatch.setenv("AI_INFRA_CHECKPOINT_ROOT", "s3://nowhere/log")
    monkeypatch.setenv("AI_INFRA_S3_ENDPOINT_URL", unused_url())
    assert run(train_line(repository)).code == 0
    assert "have no checkpoint yet" in caplog.text
    assert run("audit checkpoint").code == 4
    monkeypatch.delenv("AI_INFRA_CHECKPOINT_ROOT")
    assert run("audit checkpoint").code == 0


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


def test_a_command_that_finds_the_history_rewritten_says_so(
    installation: Settings, registered: dict[str, Any], run: Run, tmp_path: Path
) -> None:
    place = tmp_path / "artifacts" / "checkpoints" / ORIGIN.replace("/", "_")
    (place / f"{90:020d}").write_bytes((place / f"{5:020d}").read_bytes())
    ran = run("evaluate rain")
    assert (ran.code, "has a signed" in ran.out, "checkpoint" in ran.error) == (5, True, True)


def test_the_checkpoint_printed_is_the_published_one(registered: dict[str, Any], installation: Settings, run: Run, tmp_path: Path) -> None:
    printed = run("audit checkpoint").out.encode()
    head, _ = notes.open_checkpoint(printed, ORIGIN, [audit_signer(installation).public_key])
    assert head.size == 5
    assert (tmp_path / "artifacts/checkpoints" / ORIGIN.replace("/", "_") / f"{5:020d}").read_bytes() == printed
    told = run("audit checkpoint --json").json
    assert (told["size"], told["note"].encode()) == (5, printed)


def test_an_empty_log_has_nothing_to_commit_to(installation: Settings, run: Run) -> None:
    assert run("audit checkpoint").code == 2


def test_a_printed_proof_verifies_by_seq_and_by_id(registered: dict[str, Any], installation: Settings, run: Run) -> None:
    with database.transaction(installation) as tx:
        rows = [dict(row) for row in tx.execute(select(audit_events).order_by(audit_events.c.seq)).mappings()]
    for row in rows:
        for named in (row["seq"], row["id"]):
            proof = log_proof.parse(run(f"audit proof {named}").out.encode())
            head, _ = notes.open_checkpoint(proof.checkpoint, ORIGIN, [audit_signer(installation).public_key])
            log_proof.verify(proof, leaf({str(name): value for name, value in row.items()}), head)
    told = run("audit proof 2 --json").json
    assert read_leaf(told["entry"].encode())["seq"] == told["seq"] == 2


def test_an_event_without_a_checkpoint_gets_one_with_its_proof(installation: Settings, run: Run) -> None:
    fill(installation, 5, audit_signer(installation))
    assert log_proof.parse(run("audit proof 5").out.encode()).index == 4


@pytest.mark.parametrize("named", ["99", "0", "9" * 30, "x", "6f1c5f0e-2f5e-5f0a-9b59-0d9f0a3c2f11"])
def test_a_proof_of_what_is_not_there_is_refused(registered: dict[str, Any], run: Run, named: str) -> None:
    assert run(f"audit proof {named}").code == 2


def test_the_log_is_kept_published_until_the_process_is_told_to_stop(installation: Settings, tmp_path: Path) -> None:
    fill(installation, 5, audit_signer(installation))
    code = "from aiinfra_core.cli.app import main; raise SystemExit(main(['audit', 'run']))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "AI_INFRA_CHECKPOINT_SECONDS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: _sizes(installation) == [5])
            fill(installation, 2, audit_signer(installation))
            wait_until(lambda: _sizes(installation) == [5, 7])
            time.sleep(0.1)
            fill(installation, 3, audit_signer(installation))
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert _published(tmp_path) == _sizes(installation) == [5, 7, 10]
