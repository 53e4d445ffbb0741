"""The command line from code to production: what is printed for people, what for scripts, and what is done once."""

import json
import re
from pathlib import Path
from typing import Any

from aiinfra_core.settings import Settings
from tests.factories import CONTAINER
from tests.simulators import command_line, git_repository
from tests.simulators.command_line import Run, train_line

installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run


def test_a_model_goes_from_code_to_production_and_every_step_verifies(installation: Settings, run: Run, repository: Path) -> None:
    trained = run(train_line(repository, "--param depth=3 --param solver=lbfgs"))
    assert (trained.code, trained.out.startswith("rain: completed")) == (0, True)
    assert "  | step 4 of 4" in trained.err
    job = re.search(r"Next: aiinfra register (\S+)", trained.out)
    assert job is not None
    assert "Next: aiinfra evaluate rain:1" in run(f"register {job[1]}").out
    assert "Next: aiinfra promote rain:1 --to staging" in run("evaluate rain").out
    assert "Next: aiinfra promote rain:1 --to prod" in run("promote rain --to staging").out
    promoted = run("promote rain:1 --to production")
    assert (promoted.code, promoted.out.splitlines()[0]) == (0, "rain:1 is current in prod")
    assert "Next: aiinfra verify rain:1" in promoted.out

    assert run("verify rain@production").out.splitlines()[-1] == "rain:1 verifies."
    assert "prod, staging" in run("models list").out
    assert "Current in: prod (sequence 1), staging (sequence 1)" in run("models show rain").out
    assert re.search(r"prod +rain:1", run("status").out)
    assert run(f"jobs show {job[1]} --json").json["hyperparams"] == {"depth": 3, "solver": "lbfgs"}


def test_json_is_the_only_thing_on_standard_output(registered: dict[str, Any], run: Run) -> None:
    job = registered["trainingJobId"]
    evaluation = run("evaluate rain --json").json
    assert (evaluation["kind"], evaluation["metrics"]["quality"]) == ("measured", 0.9)
    promotion = run("promote rain --to staging --json").json
    said = promotion["sentinelDecision"]["policyId"]
    assert (promotion["status"], promotion["promotedBy"] != "", said) == ("applied", True, "sentinel-allow")
    shown = run("models show rain --json").json
    assert (shown["artifact"]["id"], shown["job"]["id"], len(shown["evaluations"])) == (registered["id"], job, 1)
    assert [(place["environment"], place["sequence"]) for place in shown["currentIn"]] == [("staging", 1)]
    assert [(one["version"], one["currentIn"]) for one in run("models list --json").json] == [(1, ["staging"])]
    assert run("verify rain --json").json["verified"] is True
    assert run("verify --json").json["findings"] == []
    assert run("migrate --json").json == {"applied": [], "rolesGranted": False}
    assert run("init --json").json["pendingMigrations"] == []
    key = run("keys show --json").json
    assert (key["signerId"], key["development"]) == ("test", False)
    status = run("status --json").json
    assert (status["signer"]["keyid"], status["eventsWaiting"], status["current"][0]["version"]) == (key["keyid"], 0, 1)
    assert status["database"]["reachable"] is True


def test_the_same_training_is_done_once_and_its_repetition_says_so(installation: Settings, run: Run, repository: Path) -> None:
    first, again = run(train_line(repository, "--json")), run(train_line(repository, "--json"))
    assert first.json == again.json
    assert "was done before" not in first.err
    assert "was done before" in again.err
    anew = run(train_line(repository, "--json", "--request-id second"))
    assert anew.json["id"] != first.json["id"]
    assert anew.json["checksum"] == first.json["checksum"]


def test_a_training_can_be_asked_for_with_a_file_and_options_win(
    installation: Settings, run: Run, repository: Path, tmp_path: Path
) -> None:
    spec = {"model": "rain", "codeRef": str(repository), "containerDigest": CONTAINER, "hyperparams": {"depth": 1}, "seed": 1}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    job = run(f"train --spec {tmp_path}/spec.json --seed 2 --json").json
    assert job["status"] == "completed"
    assert (job["seed"], job["hyperparams"], job["entryPoint"]) == (2, {"depth": 1}, None)
    assert re.fullmatch(rf"{repository}@[0-9a-f]{{40}}", job["codeRef"])


def test_without_a_seed_one_is_drawn_and_told(installation: Settings, run: Run, repository: Path) -> None:
    trained = run(train_line(repository, "--json", seed=""))
    assert f"with seed {trained.json['seed']}" in trained.err


def test_the_digest_of_a_dataset_on_this_machine_is_found(installation: Settings, run: Run, repository: Path, tmp_path: Path) -> None:
    git_repository.write_files(repository, {"days.csv": "1\n"})
    git_repository.commit(repository)
    (tmp_path / "nights.csv").write_text("1\n")
    digest = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
    datasets = f"--dataset days=days.csv --dataset nights=file://{tmp_path}/nights.csv --dataset again,{tmp_path}/nights.csv,{digest}"
    job = run(train_line(repository, datasets, "--json")).json
    assert job["status"] == "completed"
    assert [(ref["name"], ref["sha256"]) for ref in job["datasetRefs"]] == [
        ("days", digest),
        ("nights", digest),
        ("again", digest),
    ]
    for wrong in (f"days=days.csv#sha256={'0' * 64}", f"days,days.csv,{'0' * 64}"):
        assert run(train_line(repository, f"--dataset {wrong}")).code == 7


def test_a_file_or_a_directory_can_be_registered_without_a_job_and_twice_is_once(installation: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    first = run(f"register --model rain {tmp_path}/model --metadata team=weather --json").json
    again = run(f"register --model rain {tmp_path}/model --metadata team=weather --json").json
    assert first == again
    assert (first["digestKind"], first["trainingJobId"], first["metadata"]) == ("dirHash", None, {"team": "weather"})
    stored = f"--uri {first['artifactUri']} --checksum {first['checksum']}"
    assert run(f"register --model snow {stored} --json").json["version"] == 1
    other = run(f"register --model snow --uri {first['artifactUri']} --checksum {'0' * 64}")
    assert (other.code, first["checksum"] in other.error) == (2, True)
    assert "no provenance" in run("models show rain").out
    assert "--metric quality=" in run(f"register --model sun {tmp_path}/model/weights").out


def test_versions_are_listed_in_pages(installation: Settings, run: Run, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / "weights").write_text(str(number))
        run(f"register --model rain {tmp_path}/weights")
    first = run("models list rain --limit 2")
    following = re.search(r"Next: aiinfra (models list --after \S+)", first.out)
    assert following is not None
    assert [line.split()[0] for line in first.out.splitlines()[1:3]] == ["rain:3", "rain:2"]
    assert [one["version"] for one in run(f"{following[1]} --json").json] == [1]
    assert "There is no model snow." in run("models list snow").out
