"""The shipped strict policy with everything behind it real: a model is refused for one reason after the other until each was seen to."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from aiinfra_core import checksums, evaluating, promoting, reproducing, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.policy import files
from aiinfra_core.settings import Settings
from tests.simulators.approvers import agree_by_name
from tests.simulators.evaluation_script import DAYS, evaluation_spec
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]

TRAIN = "score = {score}; put('model.json', json.dumps(dict(quality=score))); metrics.write_text(json.dumps(dict(quality=1.0)))"
MEASURE = """
place = Path(inputs["model"])
model = json.loads((place / "model.json" if place.is_dir() else place).read_text())
at["--metrics"].write_text(json.dumps({"quality": model["quality"]}))
"""

Ask = Callable[[Artifact, str], Promotion]


@pytest.fixture
def strict(settings: Settings, tmp_path: Path) -> Settings:
    """Give the settings of an operator who copied the strict policy and named their dataset."""
    text = (files.policies_folder() / "strict.yaml").read_text()
    ours = tmp_path / "ours.yaml"
    ours.write_text(text.replace("evaluation_dataset: null ", f"evaluation_dataset: {checksums.sha256_hex(DAYS)} "))
    return settings.model_copy(update={"policy": str(ours)})


@pytest.fixture
def ask(strict: Settings) -> Ask:
    def promote(artifact: Artifact, environment: str) -> Promotion:
        request = PromotionRequest(artifact=str(artifact.id), environment=environment, requested_by="paul", request_id=str(uuid4()))
        return promoting.promote(strict, request)

    return promote


def refused_by(promotion: Promotion) -> str | None:
    assert promotion.status is PromotionStatus.REJECTED, promotion
    assert promotion.decision is not None
    return promotion.decision.rule_id


def test_strict_is_a_yes_only_once_everything_it_asks_for_was_done(strict: Settings, trained: Trained, ask: Ask, tmp_path: Path) -> None:
    good, spec = trained(TRAIN.format(score=0.9)), evaluation_spec(tmp_path / "code", MEASURE)
    assert refused_by(ask(good, "staging")) == "measured-by-the-pipeline"
    evaluating.evaluate(strict, good.id, spec, recorded_by="eva", on_output=print)
    assert refused_by(ask(good, "staging")) == "reproduced"
    reproducing.reproduce(strict, ReproductionRequest(artifact=str(good.id), reproduced_by="rosa"), on_output=print)
    assert refused_by(ask(good, "prod")) == "staging-first"
    assert ask(good, "staging").status is PromotionStatus.APPLIED
    waits = ask(good, "prod")
    assert (waits.status, waits.approvals_required) == (PromotionStatus.PENDING_APPROVAL, {"ml-lead": 1, "security": 1})
    agree_by_name(strict, waits, "alice", "security")
    _, applied = agree_by_name(strict, waits, "leo", "ml-lead")
    assert applied.status is PromotionStatus.APPLIED

    worse = trained(TRAIN.format(score=0.85))
    evaluating.evaluate(strict, worse.id, spec, recorded_by="eva", on_output=print)
    assert refused_by(ask(worse, "staging")) == "no-regression"
    assert "more than 0.01" in (ask(worse, "staging").reason or "")
    assert verifying.verify_history(strict).findings == []


def test_the_strict_policy_as_it_is_shipped_asks_for_a_dataset_first(settings: Settings, trained: Trained) -> None:
    shipped = settings.model_copy(update={"policy": "strict"})
    request = PromotionRequest(artifact=str(trained(TRAIN.format(score=0.9)).id), environment="staging", requested_by="paul")
    promotion = promoting.promote(shipped, request)
    assert (refused_by(promotion), "evaluation_dataset" in (promotion.reason or "")) == ("evaluation-dataset-named", True)
