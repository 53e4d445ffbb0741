"""`audit verify`: several processes, interrupted and gone on with, only what is new, and what was verified before as a witness."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from aiinfra_core import database, verifying
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checking import check
from aiinfra_core.audit_log.checking.check import History, Way
from aiinfra_core.errors import Conflict, Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.simulators.long_log import fill

installation, run = command_line.installation, command_line.run
EVENTS = 256
LENGTH = 3 * EVENTS + 100

_KILLED = """
import json, os, signal, sys
from pathlib import Path
from aiinfra_core import verifying
from aiinfra_core.audit_log.checking import check
from aiinfra_core.settings import Settings

check.WORTH_PROCESSES = 0
check.EVENTS = int(sys.argv[4])
def progress(what, done, of):
    if (what, done) == ("events", int(sys.argv[2])):
        os.kill(os.getpid(), getattr(signal, sys.argv[3]))
verifying.verify_history(Settings(), check.Way(state=Path(sys.argv[1]), processes=2, progress=progress))
"""


@pytest.fixture
def filled(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give a log of a few short stretches with a checkpoint near its end."""
    monkeypatch.setattr(check, "EVENTS", EVENTS)
    fill(installation, LENGTH - 50, audit_signer(installation))
    checkpoints.checkpoint(installation, audit_signer(installation))
    fill(installation, 50, audit_signer(installation))
    return installation


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "verified.sqlite"


def _found(history: History) -> list[str]:
    return [f"{finding.place}: {finding.problem}" for finding in history.findings]


def _edit(settings: Settings, statement: str) -> None:
    with database.engine_for(settings).begin() as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("SET session_replication_role = replica"))
        assert tx.execute(text(statement)).rowcount
        tx.execute(text("RESET session_replication_role"))
    database.close_connections()


def test_several_processes_find_what_one_finds(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "WORTH_PROCESSES", 0)
    assert [_found(verifying.verify_history(filled, Way(processes=number))) for number in (1, 2)] == [[], []]
    _edit(filled, f"UPDATE audit_events SET signer_id = 'mallory' WHERE seq IN (1, {EVENTS}, {EVENTS + 1})")
    _edit(filled, "UPDATE training_jobs SET seed = 8 WHERE id::text LIKE '%-00000000012c'")
    one, several = (verifying.verify_history(filled, Way(processes=number)) for number in (1, 3))
    assert one == several
    assert [finding.place for finding in one.findings if finding.place.startswith(("audit_events", "training_jobs"))] == [
        *(f"audit_events seq {seq}" for seq in (1, EVENTS, EVENTS + 1)),
        "training_jobs 00000000-0000-4000-8000-00000000012c",
    ]
    assert one.findings[-1].problem == "seed differs from its last event"


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_an_interrupted_verification_goes_on_where_it_stood_and_leaves_no_process(filled: Settings, state: Path, how: str) -> None:
    line = [sys.executable, "-c", _KILLED, str(state), str(2 * EVENTS), how, str(EVENTS)]
    ended = subprocess.run(line, start_new_session=True, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -getattr(signal, how), ended.stderr
    assert _session(ended.args) == []
    _edit(filled, "UPDATE audit_events SET signer_id = 'mallory' WHERE seq = 1")
    history = verifying.verify_history(filled, Way(state=state))
    assert (history.events, history.since, _found(history)) == (LENGTH, 2 * EVENTS + 1, [])
    assert history.notes == [f"Going on after event {2 * EVENTS}, where the last verification was interrupted."]
    again = verifying.verify_history(filled, Way(state=state))
    assert (again.since, _found(again)[0]) == (1, "audit_events seq 1: signer_id mallory has no trusted key")


def _session(line: Any) -> list[int]:
    """Return the processes that still work for a verification of this state."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "environ").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if str(line[3]).encode() in command:
            found.append(int(folder.name))
    return found


def test_a_lost_process_is_told_and_the_next_verification_goes_on(filled: Settings, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "WORTH_PROCESSES", 0)

    def kill_one(_what: str, _done: int, _of: int) -> None:
        for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            if b"aiinfra_core.audit_log.checking.workers" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(Unavailable, match="goes on where it stood"):
        verifying.verify_history(filled, Way(state=state, processes=2, progress=kill_one))
    assert verifying.verify_history(filled, Way(state=state)).since > 1


def test_a_log_that_was_verified_before_its_first_checkpoint_verifies_after_it(installation: Settings, state: Path) -> None:
    way, signer = Way(state=state, incremental=True), audit_signer(installation)
    fill(installation, 5, signer)
    assert verifying.verify_history(installation, way).findings == []
    checkpoints.checkpoint(installation, signer)
    for more in (0, 3):
        fill(installation, more, signer)
        assert verifying.verify_history(installation, way).findings == []


def test_an_incremental_verification_begins_at_the_last_verified_checkpoint(filled: Settings, state: Path) -> None:
    signer, way = audit_signer(filled), Way(state=state, incremental=True)
    first = verifying.verify_history(filled, way)
    assert (first.since, first.notes) == (1, ["Nothing was verified before, so the whole log is."])
    fill(filled, 40, signer)
    checkpoints.checkpoint(filled, signer)
    second = verifying.verify_history(filled, way)
    assert (second.since, second.events, second.checkpoints, _found(second)) == (LENGTH - 49, LENGTH + 40, 2, [])
    assert verifying.verify_history(filled, way).since == LENGTH + 41
    _edit(filled, f"UPDATE audit_events SET signer_id = 'mallory' WHERE seq = {LENGTH}")
    assert verifying.verify_history(filled, way).findings == [], "what was verified is not looked at again"
    assert "audit_events seq" in _found(verifying.verify_history(filled, Way(state=state)))[0]
    assert "audit_events seq" in _found(verifying.verify_history(filled, way))[0], "what was found stays found until all is checked again"


INCREMENTAL = {
    "a new event": ("UPDATE audit_events SET signature = 'AAAA' WHERE seq = {last}", "audit_events seq {last}"),
    "a row a new event tells of": (
        "UPDATE training_jobs SET error = 'x' WHERE id = (SELECT max(id::text)::uuid FROM training_jobs)",
        "training_jobs 00000000-0000-4000-8000",
    ),
    "a row nothing tells of": ("INSERT INTO models VALUES ('ghost', 1, now())", "models ghost"),
    "a deleted old row": ("DELETE FROM training_jobs WHERE id = (SELECT min(id::text)::uuid FROM training_jobs)", "training_jobs 0000"),
    "an old checkpoint": ("UPDATE audit_checkpoints SET note = note || 'x'::bytea", "audit_checkpoints size {anchor}"),
    "a deleted checkpoint": ("DELETE FROM audit_checkpoints", "audit_checkpoints"),
    "the edge of the tree": ("UPDATE audit_tiles SET hashes = substring(hashes FOR 32) WHERE level = 0 AND tile = {tile}", "audit_tiles"),
    "a cut tail": ("DELETE FROM audit_events WHERE seq > {anchor}", "audit_events seq {verified}: is not there as it was verified"),
}


@pytest.mark.parametrize("named", INCREMENTAL)
def test_an_incremental_verification_finds(filled: Settings, state: Path, named: str) -> None:
    way, (statement, place) = Way(state=state, incremental=True), INCREMENTAL[named]
    assert _found(verifying.verify_history(filled, way)) == []
    fill(filled, 40, audit_signer(filled))
    numbers = {"last": LENGTH + 40, "anchor": LENGTH - 50, "tile": (LENGTH - 50) // 256, "verified": LENGTH}
    _edit(filled, statement.format(**numbers))
    assert any(line.startswith(place.format(**numbers)) for line in _found(verifying.verify_history(filled, way)))


def test_a_checkpoint_changed_where_it_was_published_is_found(filled: Settings, state: Path) -> None:
    way = Way(state=state, incremental=True)
    verifying.verify_history(filled, way)
    (published,) = Path(str(filled.artifact_root).removeprefix("file://")).glob("checkpoints/*/*")
    right = published.read_bytes()
    for forged in (right.replace(b"\n", b"\n\n", 1), b"", right + b"x"):
        published.chmod(0o644)
        published.write_bytes(forged)
        for again in (way, Way()):
            found = _found(verifying.verify_history(filled, again))
            assert [line for line in found if line.startswith(published.as_uri())], forged
        verifying.verify_history(filled, Way(state=state, restart=True))
    published.write_bytes(right)
    assert _found(verifying.verify_history(filled, Way(state=state, restart=True))) == []
    published.unlink()
    found = _found(verifying.verify_history(filled, way))
    assert found == [f"{published.as_uri()}: the checkpoint of the database has no copy there"]


def test_a_checkpoint_published_by_somebody_who_was_killed_is_taken_in_by_the_next(filled: Settings) -> None:
    _edit(filled, "DELETE FROM audit_checkpoints")
    found = _found(verifying.verify_history(filled))
    assert f"audit_checkpoints size {LENGTH - 50}: the checkpoint was published but is not here; see: aiinfra audit checkpoint" in found
    checkpoints.checkpoint(filled, audit_signer(filled))
    history = verifying.verify_history(filled)
    assert (_found(history), history.checkpoints) == ([], 2)


def test_what_was_verified_by_other_keys_or_of_another_log_is_not_gone_on_with(filled: Settings, state: Path) -> None:
    way = Way(state=state, incremental=True)
    verifying.verify_history(filled, way)
    other = filled.model_copy(update={"signer_key_b64": Settings(signer_key_b64=local.generate()).signer_key_b64})
    history = verifying.verify_history(other, way)
    assert history.notes == ["What was verified before was by other keys; the whole log is verified anew."]
    assert (history.since, history.broken > history.events > len(history.findings)) == (1, True)
    _edit(filled, "UPDATE audit_events SET hash = repeat('0', 64) WHERE seq = 1")
    (note,) = verifying.verify_history(other, way).notes
    assert "of another log, or its first event was changed since" in note


def test_other_keys_do_not_make_forget_how_far_the_log_was_seen(filled: Settings, state: Path, tmp_path: Path) -> None:
    verifying.verify_history(filled, Way(state=state))
    key = tmp_path / "promotion.key"
    key.write_text(local.generate())
    key.chmod(0o600)
    other = filled.model_copy(update={"promotion_signer_uri": f"file:{key}?signer-id=promotion"})
    gone_on = verifying.verify_history(other, Way(state=state))
    assert (gone_on.notes, _found(gone_on)) == (["What was verified before was by other keys; the whole log is verified anew."], [])
    _edit(filled, f"DELETE FROM audit_events WHERE seq > {LENGTH - 50}")
    found = _found(verifying.verify_history(filled, Way(state=state)))
    assert f"audit_events seq {LENGTH}: is not there as it was verified before: the log was rewritten or cut since" in found


def test_one_verification_at_a_time_keeps_what_it_knows(filled: Settings, state: Path) -> None:
    def second(_what: str, _done: int, _of: int) -> None:
        with pytest.raises(Conflict, match="Another verification"):
            verifying.verify_history(filled, Way(state=state))

    verifying.verify_history(filled, Way(state=state, progress=second))


def test_the_command_tells_what_it_found_and_where(filled: Settings, run: Run, home: Path) -> None:
    first = run("audit verify")
    assert (first.code, first.out.startswith(f"The history verifies: {LENGTH} events")) == (0, True)
    assert (home / "audit" / "verified.sqlite").exists()
    second = run("audit verify --incremental --json")
    assert (second.code, second.json["since"], second.json["verified"]) == (0, LENGTH - 49, True)
    _edit(filled, "UPDATE training_jobs SET model = 'snow' WHERE id::text LIKE '%-000000000000'")
    broken = run("audit verify")
    assert (broken.code, "training_jobs 00000000-0000-4000-8000-000000000000" in broken.out) == (5, True)
    assert "model differs from its last event" in broken.out
    assert run("audit verify --incremental --json").json["broken"] == 1
    assert json.loads(run("verify --json").out)["findings"][0]["place"].startswith("training_jobs")
    assert run("audit verify --state /proc/nowhere/x").code == 6
