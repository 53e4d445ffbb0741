"""`python -m flows.VERB` as a person types it: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from flows import command_line, laptop
from flows.deliver import deliver
from flows.evaluate import evaluate
from flows.pipeline import pipeline
from flows.promote import promote
from flows.register import register
from flows.reproduce import reproduce
from flows.rollback import rollback
from flows.rollout import rollout
from flows.settle import settle
from flows.train import train
from flows.verify import verify
from tests import factories
from tests.simulators.scripted_server import unused_url

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS: dict[str, tuple[Flow[..., Any], Callable[..., dict[str, Any]]]] = {
    "train": (train, command_line.training),
    "register": (register, command_line.registration),
    "evaluate": (evaluate, command_line.evaluation),
    "reproduce": (reproduce, command_line.reproduction),
    "promote": (promote, command_line.promotion),
    "rollback": (rollback, command_line.going_back),
    "pipeline": (pipeline, command_line.pipeline),
    "verify": (verify, command_line.verification),
    "settle": (settle, command_line.settling),
    "rollout": (rollout, command_line.looking),
    "deliver": (deliver, command_line.delivery),
}


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """Give a function that runs a flow with nothing configured but what it is told."""

    def run(verb: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DO_NOT_TRACK": "1", **variables}
        command = [sys.executable, "-m", f"flows.{verb}", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False)

    return run


@pytest.fixture
def run(bare: Run, environment: dict[str, str], prefect_home: Path) -> Run:
    """Give a function that runs a flow with this test's settings, beside a local Prefect server that runs already."""
    configured = environment | {"AI_INFRA_HOME": str(prefect_home)}
    return lambda verb, *arguments, **variables: bare(verb, *arguments, **configured | variables)


def _training(code_ref: str, entry_point: str = "train.py") -> tuple[str, ...]:
    pinned = ("--container-digest", factories.CONTAINER, "--seed", "7", "--entry-point", entry_point)
    return ("--model", "rainfall", "--code", code_ref, *pinned)


def _error(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """Return the one line of an error."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def _here(verb: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a flow's command line in this process, which is quicker, and return its exit code."""
    monkeypatch.setattr(sys, "argv", [verb, *arguments])
    with pytest.raises(SystemExit) as ended:
        laptop.main(*COMMANDS[verb])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_tells_the_options(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _here(verb, ["--help"], monkeypatch) == 0
    said = capsys.readouterr()
    assert f"python -m flows.{verb}" in said.out
    assert "--params" in said.out
    assert said.err == ""


def test_help_starts_nothing(bare: Run, tmp_path: Path) -> None:
    done = bare("pipeline", "--help", AI_INFRA_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--model", "rainfall"), "--help"),
        (("evaluate", "rainfall:1"), "An evaluation needs --code"),
        (("evaluate", "rainfall:1", "--spec", "nothing.json"), "nothing.json cannot be read"),
        (("train", "--sede", "7"), "--help"),
        (("promote", "rainfall:1", "--to", "prod", "--metric", "0.9"), "KEY=VALUE"),
        (("promote", "rainfall:1", "--to", "prod", "--requested-by", "two words"), "requested_by"),
        (("train", "--params", "nowhere.json"), "nowhere.json cannot be read"),
        (("train", *_training("/code@" + 40 * "c"), "--dataset", "days=nowhere.csv"), "Dataset days is no file"),
        (("pipeline", *_training("https://example.org/repository.git")), "pinned to a commit"),
        (("register", "--model", "rainfall", "--uri", "file:///x", "--checksum", "xyz"), "checksum"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _here(arguments[0], arguments[1:], monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.slow
def test_a_pipeline_on_a_laptop_ends_with_its_outcome_and_where_to_see_it(run: Run, code_ref: str) -> None:
    done = run("pipeline", *_training(code_ref))
    assert done.returncode == 0, done.stderr
    where, outcome = done.stdout.splitlines()
    assert where.startswith("Run: http://127.0.0.1:")
    assert "/runs/flow-run/" in where
    assert outcome == "rainfall:1 to staging: applied; rainfall:1 to prod: applied"
    assert "step 3 of 4" in done.stderr
    promoted = run("promote", "rainfall:1", "--to", "prod", "--metric", "quality=0.1")
    assert promoted.returncode == 3
    assert "rainfall:1 to prod: rejected: " in promoted.stdout
    verified = run("verify", "rainfall")
    assert verified.returncode == 0
    assert "verified: " in verified.stdout


@pytest.mark.slow
def test_the_parameters_may_come_from_a_file_as_prefect_takes_them(run: Run, code_ref: str, tmp_path: Path) -> None:
    request = {"spec": factories.training_spec(code_ref).model_dump(mode="json", by_alias=True), "requestedBy": "ada"}
    (tmp_path / "parameters.json").write_text(json.dumps({"request": request}))
    done = run("train", "--params", "parameters.json")
    assert done.returncode == 0, done.stderr
    assert "rainfall trained: digest " in done.stdout


@pytest.mark.slow
def test_a_gate_that_is_down_is_exit_code_4(run: Run, code_ref: str) -> None:
    done = run("pipeline", *_training(code_ref), AI_INFRA_SENTINEL_URL=unused_url())
    assert _error(done, 4).startswith("unavailable:sentinelnet ")


@pytest.mark.slow
def test_a_training_that_fails_is_exit_code_7_with_its_last_words(run: Run, code_ref: str) -> None:
    done = run("train", *_training(code_ref, "fail.py"))
    assert "the data has no rows" in _error(done, 7)


@pytest.mark.slow
def test_evidence_that_does_not_verify_is_exit_code_5(run: Run, code_ref: str) -> None:
    assert run("train", *_training(code_ref)).returncode == 0
    done = run("verify", AI_INFRA_SIGNER_KEY_B64="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    assert _error(done, 5).startswith("audit_events seq 1: ")


@pytest.mark.slow
def test_a_wrong_setting_is_exit_code_6(run: Run) -> None:
    assert "aiinfra keys generate" in _error(run("verify", AI_INFRA_SIGNER_KEY_B64="short"), 6)


def test_the_configured_prefect_server_is_used_and_its_absence_is_exit_code_4(run: Run) -> None:
    done = run("verify", PREFECT_API_URL=f"{unused_url()}/api", PREFECT_CLIENT_MAX_RETRIES="0")
    assert "Prefect" in _error(done, 4)
