"""The rainfall example trains on real data, well or deliberately badly, gives the same bytes each time, and can be measured."""

import shutil
from pathlib import Path

import pytest

from aiinfra_core import checksums
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.training.execute import TrainingRun, execute
from aiinfra_core.training.measure import measure
from tests.simulators.git_repository import commit

EXAMPLE = Path(__file__).parents[2] / "examples" / "rainfall"
DATA_SHA256 = "64cc485f9fdb007fce083d494f531e9473d52ec6d44febe4062c99ac4b366153"

HELD_OUT_SHA256 = "2394df5e5e7eac33f580b769d958f92bf1c49730882100df389ee7e8a1fdf78e"


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


@pytest.mark.slow
def test_two_trainings_in_different_places_give_the_same_good_model(tmp_path: Path) -> None:
    runs = [train(tmp_path / name) for name in ("one", "another/place")]
    for run in runs:
        assert run.error is None
        assert run.metrics and run.metrics["quality"] > 0.84
    assert runs[0].output and runs[1].output
    assert runs[0].output.read_bytes() == runs[1].output.read_bytes()
    assert runs[0].metrics == runs[1].metrics


@pytest.mark.slow
def test_a_deliberately_weak_model_scores_below_the_gate(tmp_path: Path) -> None:
    run = train(tmp_path, n_estimators=1, max_depth=1)
    assert run.metrics and 0.5 < run.metrics["quality"] < 0.75


@pytest.mark.slow
def test_the_evaluation_script_measures_on_the_days_held_out_what_the_training_measured_there(tmp_path: Path) -> None:
    trained = train(tmp_path, n_estimators=20)
    assert trained.output and trained.metrics
    spec = EvaluationSpec(
        code_ref=f"{tmp_path / 'source'}@{commit(tmp_path / 'source')}",
        entry_point="evaluate.py",
        dataset_refs=(DatasetRef(name="held_out", uri="held_out.parquet", sha256=HELD_OUT_SHA256),),
        parameters={"parts": 3},
    )
    (tmp_path / "model").write_bytes(trained.output.read_bytes())
    lay_out, cache = (tmp_path / "model").rename, tmp_path / "cache"
    run = measure(spec, lay_out, folder=tmp_path / "evaluation", cache=cache, timeout_seconds=100, on_output=print)
    assert run.metrics, run.error
    assert run.metrics.items() > trained.metrics.items()
    assert run.metrics["worst_part"] < run.metrics["quality"]


@pytest.mark.slow
def test_an_unknown_hyperparameter_is_told_plainly(tmp_path: Path) -> None:
    assert "unknown hyperparameters max_iter" in (train(tmp_path, max_iter=5).error or "")


@pytest.mark.parametrize(("file", "sha256"), [("rainfall.parquet", DATA_SHA256), ("held_out.parquet", HELD_OUT_SHA256)])
def test_the_readme_states_the_digest_of_the_data(file: str, sha256: str) -> None:
    assert checksums.sha256_hex((EXAMPLE / file).read_bytes()) == sha256
    assert f"`{file}`, SHA-256 `{sha256}`" in (EXAMPLE / "README.md").read_text()
