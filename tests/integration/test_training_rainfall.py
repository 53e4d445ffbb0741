"""The rainfall example trains on real data, well or deliberately badly, and gives the same bytes each time."""

import shutil
from pathlib import Path

import pytest

from aiinfra_core import checksums
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.training.execute import TrainingRun, execute
from tests.simulators.git_repository import commit

EXAMPLE = Path(__file__).parents[2] / "examples" / "rainfall"
DATA_SHA256 = "64cc485f9fdb007fce083d494f531e9473d52ec6d44febe4062c99ac4b366153"


def train(folder: Path, **hyperparams: float) -> TrainingRun:
    if not (folder / "source").exists():
        shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    spec = TrainingSpec(
        model="rain",
        code_ref=f"{folder / 'source'}@{commit(folder / 'source')}",
        container_digest=f"sha256:{'0' * 64}",
        entry_point="train.py",
        hyperparams=hyperparams,
        dataset_refs=(DatasetRef(name="rainfall", uri="rainfall.parquet", sha256=DATA_SHA256),),
        seed=7,
    )
    return execute(spec, scratch=folder / "scratch", cache=folder / "cache", timeout_seconds=100, on_output=print)


def test_two_trainings_in_different_places_give_the_same_good_model(tmp_path: Path) -> None:
    runs = [train(tmp_path / name) for name in ("one", "another/place")]
    for run in runs:
        assert run.error is None
        assert run.metrics and run.metrics["quality"] > 0.84
    assert runs[0].output and runs[1].output
    assert runs[0].output.read_bytes() == runs[1].output.read_bytes()
    assert runs[0].metrics == runs[1].metrics


def test_a_deliberately_weak_model_scores_below_the_gate(tmp_path: Path) -> None:
    run = train(tmp_path, n_estimators=1, max_depth=1)
    assert run.metrics and 0.5 < run.metrics["quality"] < 0.75


def test_an_unknown_hyperparameter_is_told_plainly(tmp_path: Path) -> None:
    assert "unknown hyperparameters max_iter" in (train(tmp_path, max_iter=5).error or "")


@pytest.mark.parametrize("line", [DATA_SHA256])
def test_the_readme_states_the_digest_of_the_data(line: str) -> None:
    assert checksums.sha256_hex((EXAMPLE / "rainfall.parquet").read_bytes()) == line
    assert line in (EXAMPLE / "README.md").read_text()
