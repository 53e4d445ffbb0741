"""The exit codes of the command line: what went wrong or was refused is told in one line, without a traceback."""

import re
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from aiinfra_core import promoting
from aiinfra_core.cli import app
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.factories import CONTAINER
from tests.simulators import command_line, policies, scripted_server, sentinelnet
from tests.simulators.command_line import Run, train_line
from tests.simulators.scripted_server import unused_url

UNKNOWN_JOB = "6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11"
installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run


def _as_owner(settings: Settings, *statements: LiteralString) -> None:
    """Do what the product's own role may not."""
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_low_quality_is_refused_with_exit_code_3_and_the_recorded_refusal_stands_until_the_policy_says_yes(
    registered: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("evaluate rain")
    monkeypatch.setenv("AI_INFRA_MIN_PROMO_SCORE", "0.95")
    refused = run("promote rain --to prod")
    assert (refused.code, refused.out.splitlines()[0]) == (3, "rain:1 was refused for prod")
    assert "0.9 is below the required 0.95" in refused.out
    assert "asked before" not in refused.err
    again = run("promote rain --to prod --json")
    assert (again.code, again.json["status"]) == (3, "rejected")
    assert re.search(r"answered \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; to ask anew, add --request-id NAME", again.err)
    monkeypatch.setenv("AI_INFRA_MIN_PROMO_SCORE", "0.8")
    assert run("promote rain --to prod --request-id own --json").json["status"] == "applied"


@pytest.mark.parametrize("score", ["0.79", "NaN", "Infinity", '"0.99"', "high", "null"])
def test_a_claimed_score_that_is_no_high_number_is_a_recorded_no(registered: dict[str, Any], run: Run, score: str) -> None:
    refused = run(f"promote rain --to prod --metric 'quality={score}' --json")
    assert (refused.code, refused.json["status"], refused.json["evaluationKind"]) == (3, "rejected", "claimed")


def test_a_gate_that_is_down_is_exit_code_4_and_the_same_command_asks_anew(
    registered: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_SENTINEL_URL", unused_url())
    down = run("promote rain --to prod --metric quality=0.9")
    assert (down.code, "unavailable:sentinelnet" in down.out) == (4, True)
    assert "ask again with the same command" in down.out
    with sentinelnet.serve(sentinelnet.judges(0.8)) as gate:
        monkeypatch.setenv("AI_INFRA_SENTINEL_URL", gate.url)
        assert run("promote rain --to prod --metric quality=0.9").code == 0


def test_a_signer_that_is_down_is_exit_code_4_and_nothing_is_registered(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").write_text("1")
    monkeypatch.delenv("AI_INFRA_SIGNER_KEY_B64")
    monkeypatch.setenv("AI_INFRA_KMS_ENDPOINT", scripted_server.unused_url())
    monkeypatch.setenv("AI_INFRA_KMS_PUBLIC_KEY_B64", local.from_base64(local.generate()).public_key.base64)
    failed = run(f"register --model rain {tmp_path}/weights")
    assert (failed.code, failed.out) == (4, "")
    assert run("models list --json").json == []


def test_a_promotion_that_lost_the_race_is_exit_code_3(registered: dict[str, Any], installation: Settings, run: Run) -> None:
    late = PromotionRequest(artifact="rain", environment="prod", evaluation={"quality": 0.9}, requested_by="ada", request_id="late")
    promoting.request_promotion(installation, late)
    assert run("promote rain --to prod --metric quality=0.91").code == 0
    lost = run("promote rain --to prod --metric quality=0.9 --request-id late --requested-by ada")
    assert (lost.code, lost.out.splitlines()[0]) == (3, "rain:1 ended superseded for prod")
    assert "asked before" not in lost.err


def test_a_promotion_that_waits_for_people_is_exit_code_0_and_says_so(
    registered: dict[str, Any], installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = policies.under(installation, tmp_path, policies.SEES_EVERYTHING + "approvals: {roles: {security: 1}}\n")
    monkeypatch.setenv("AI_INFRA_POLICY", str(asks.policy))
    for _ in range(2):
        waiting = run("promote rain --to prod --metric quality=0.9")
        assert (waiting.code, waiting.out.splitlines()[0]) == (0, "rain:1 waits for approval for prod")


def test_what_was_asked_for_and_never_answered_is_answered_for_the_first_time(
    registered: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_POLICY", str(tmp_path / "gone.yaml"))
    assert run("promote rain --to prod --metric quality=0.9").code == 6
    status = run("status")
    assert [line.split()[-4:] for line in status.out.splitlines() if line.startswith(("  staging", "  prod"))] == [["?"] * 4] * 2
    assert "\nNobody can tell for staging, prod: The policy " in status.out
    assert status.out.count("gone.yaml") == 1
    monkeypatch.delenv("AI_INFRA_POLICY")
    answered = run("promote rain --to prod --metric quality=0.9")
    assert (answered.code, "asked before" in answered.err) == (0, False)
    again = run("promote rain --to prod --metric quality=0.9")
    assert (again.code, "This was asked before and answered" in again.err) == (0, True)


def test_a_request_id_used_for_something_else_is_exit_code_2(registered: dict[str, Any], run: Run) -> None:
    assert run("promote rain --to staging --metric quality=0.9 --request-id mine").code == 0
    failed = run("promote rain --to prod --metric quality=0.9 --request-id mine")
    assert (failed.code, "choose a new one" in failed.error) == (2, True)


def test_a_tampered_artifact_is_exit_code_5_and_named(registered: dict[str, Any], run: Run) -> None:
    stored = Path(registered["artifactUri"].removeprefix("file://"))
    stored = next(path for path in (stored, *stored.rglob("*")) if path.is_file())
    stored.chmod(0o600)
    stored.write_bytes(b"tampered" + stored.read_bytes()[8:])
    broken = run("verify rain")
    assert (broken.code, broken.out.splitlines()[-1]) == (5, "rain:1 does not verify.")
    assert re.search(r"^bytes +BROKEN .*not [0-9a-f]{64}", broken.out, re.MULTILINE)
    steps = {step["name"]: step["passed"] for step in run("verify rain --json").json["steps"]}
    assert (steps["bytes"], steps["registration"]) == (False, True)
    assert run("verify").code == 0
    refused = run("promote rain --to prod --metric quality=0.9")
    assert (refused.code, "artifact:" in refused.out) == (3, True)


def test_a_changed_row_is_exit_code_5_and_named(registered: dict[str, Any], installation: Settings, run: Run) -> None:
    _as_owner(installation, "SET session_replication_role = replica", "UPDATE model_artifacts SET registered_by = 'mallory'")
    broken = run("verify")
    assert (broken.code, f"model_artifacts {registered['id']}" in broken.out, "registered_by" in broken.out) == (5, True, True)
    assert run("verify --json").json["findings"][0]["place"] == f"model_artifacts {registered['id']}"


def test_a_training_that_fails_is_exit_code_7_and_recorded(installation: Settings, run: Run, repository: Path) -> None:
    failed = run(train_line(repository, entry_point="fail.py"))
    assert (failed.code, "rain: failed" in failed.out, "the data has no rows" in failed.out) == (7, True, True)
    again = run(train_line(repository, "--json", entry_point="fail.py"))
    assert (again.code, again.json["status"], again.json["exitCode"]) == (7, "failed", 1)
    assert "to train it anew, add --request-id NAME" in again.err
    assert run(f"register {again.json['id']}").code == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("models show rain", "Nothing is registered as 'rain'"),
        ("models show rain@moon", "There is no environment 'moon'"),
        ("verify rain:7", "Nothing is registered"),
        ("evaluate rain", "Nothing is registered"),
        ("promote rain --to prod", "Nothing is registered"),
        ("promote rain --to moon", "known are staging, prod"),
        ("promote rain --to prod --metric quality", "KEY=VALUE"),
        ("promote rain --to prod --metric a=1 --metric a=2", "names a twice"),
        ("promote rain --to prod --metric 'a={'", "not readable as JSON"),
        ("promote rain --to prod --requested-by 'Ada L'", "requested-by"),
        ("promote rain", "--to"),
        (f"register {UNKNOWN_JOB}", "There is no training job"),
        (f"register {UNKNOWN_JOB} --model rain", "Name a training job, or --model"),
        ("register", "Name a training job, or --model"),
        ("register --model rain /nowhere", "cannot be"),
        ("register --model rain --uri file:///x --checksum zz", "checksum"),
        ("jobs show nothing", "UUID"),
        (f"jobs show {UNKNOWN_JOB}", "There is no training job"),
        ("models list --limit 0", "between 1 and 500"),
        ("train", "A training needs --model, --code, --container-digest"),
        (f"train --model rain --code /nowhere --container-digest {CONTAINER}", "There is no folder /nowhere"),
        (f"train --model rain --code https://code.example/rain --container-digest {CONTAINER}", "pinned"),
        ("train --spec /nowhere.json", "/nowhere.json cannot be read"),
        ("train --seed many", "many"),
        ("fly", 'Unknown command "fly"'),
        ("status --loud", "Unknown option"),
    ],
)
def test_what_was_typed_wrong_is_exit_code_2_and_one_line(installation: Settings, run: Run, line: str, said: str) -> None:
    failed = run(line)
    assert (failed.code, failed.out) == (2, "")
    assert said in failed.error


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--container-digest latest", "containerDigest"),
        (f"--container-digest {CONTAINER} --dataset days", "--dataset takes"),
        (f"--container-digest {CONTAINER} --dataset days=nowhere.csv", "days=nowhere.csv#sha256=HEX"),
        (f"--container-digest {CONTAINER} --entry-point ../train.py", "entryPoint"),
        (f"--container-digest {CONTAINER} --seed -1", "seed"),
    ],
)
def test_a_spec_that_cannot_be_is_exit_code_2_and_names_the_field(
    installation: Settings, run: Run, repository: Path, more: str, said: str
) -> None:
    failed = run(f"train --model rain --code {repository} {more}")
    assert (failed.code, said in failed.error) == (2, True)


def test_a_work_tree_with_changes_is_refused(installation: Settings, run: Run, repository: Path) -> None:
    (repository / "train.py").write_text("changed")
    failed = run(train_line(repository))
    assert (failed.code, "train.py" in failed.error) == (2, True)


def test_a_database_that_cannot_be_reached_is_exit_code_4_and_its_password_is_not_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:9/models")
    for line in ("models list", "verify", "migrate", "status", "status --json", "init"):
        failed = run(line)
        assert (failed.code, "database cannot be reached" in failed.error, "hunter2" in failed.out + failed.err) == (4, True, False)


def test_a_setting_that_is_wrong_is_exit_code_6_and_its_value_is_not_told(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "hunter2hunter2")
    failed = run("keys show")
    assert (failed.code, "hunter2" in failed.err, "aiinfra keys generate" in failed.error) == (6, False, True)


def test_something_unexpected_is_exit_code_1_in_one_line_without_its_text_and_debug_shows_where(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _as_owner(installation, "DROP TABLE environment_pointers CASCADE")
    failed = run("models list")
    assert (failed.code, "environment_pointers" in failed.err, "AI_INFRA_DEBUG=1" in failed.error) == (1, False, True)
    monkeypatch.setenv("AI_INFRA_DEBUG", "1")
    assert app.main(["models", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err
