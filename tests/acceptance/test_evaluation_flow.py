"""Evaluations as Prefect flows: challenger and champion measured before each promotion, and a script that fails."""

from pathlib import Path
from typing import Any

import pytest
from prefect import State

from aiinfra_core import database
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.errors import EvaluationFailed
from aiinfra_core.registry import artifacts, evaluations
from aiinfra_core.settings import Settings
from flows.evaluate import evaluate
from flows.outcomes import EvaluationOutcome
from flows.pipeline import pipeline
from flows.requests import EvaluationRequest, PipelineRequest
from tests import factories
from tests.simulators.evaluation_script import evaluation_spec, registered

pytestmark = pytest.mark.usefixtures("prefect_api")

WEIGHED = 'at["--metrics"].write_text(json.dumps({"quality": json.loads(Path(inputs["model"]).read_text())["weights"][1] - 0.05}))'


def _measured(settings: Settings, reference: str) -> list[Evaluation]:
    with database.transaction(settings) as tx:
        return evaluations.of_artifact(tx, artifacts.find(tx, reference).id)


@pytest.mark.slow
def test_a_pipeline_measures_challenger_and_champion_by_the_same_spec_before_it_promotes(settings: Settings, tmp_path: Path) -> None:
    spec = evaluation_spec(tmp_path / "evaluation", WEIGHED)
    for quality in (0.9, 0.95):
        code = factories.make_training_repository(tmp_path / f"code-{quality}", quality)
        measured = spec if quality > 0.9 else None  # the first one goes as far as its own training's word takes it
        request = PipelineRequest(spec=factories.training_spec(code), evaluation=measured, environments=("prod",), requested_by="ada")
        assert [one.status for one in pipeline(request).promotions] == ["applied"]
    first, second = _measured(settings, "rainfall:1"), _measured(settings, "rainfall:2")
    assert [(one.spec_digest, one.metrics["quality"]) for one in first] == [(None, 0.9), (spec.digest(), pytest.approx(0.85))]
    assert [(one.spec_digest, one.metrics["quality"]) for one in second] == [(None, 0.95), (spec.digest(), pytest.approx(0.9))]


def test_a_run_says_what_was_measured_and_fails_with_the_reason_of_a_script_that_fails(settings: Settings, tmp_path: Path) -> None:
    registered(settings, tmp_path)
    spec = evaluation_spec(tmp_path / "code")
    outcome: EvaluationOutcome = evaluate(EvaluationRequest(artifact="rain", spec=spec, against="prod", requested_by="eva"))
    assert (str(outcome), outcome.champion) == ("rain:1 measured: days 3, quality 0.9", None)
    assert [one.recorded_by for one in _measured(settings, "rain:1")] == ["eva"]
    failing = evaluation_spec(tmp_path / "failing", "raise SystemExit('no days at all')")
    state: State[Any] = evaluate(EvaluationRequest(artifact="rain:1", spec=failing, requested_by="eva"), return_state=True)
    assert state.is_failed()
    assert "no days at all" in str(state.message)
    with pytest.raises(EvaluationFailed):
        state.result()
