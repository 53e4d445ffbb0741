"""What the records refuse: every bad field of a request is named, and nothing odd gets in."""

from typing import Any

import pytest
from pydantic import ValidationError

from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import TrainingSpec

COMMIT, DIGEST = "a" * 40, "b" * 64
GOOD: dict[str, Any] = {
    "model": "rainfall",
    "codeRef": f"https://example.org/rain.git@{COMMIT}",
    "containerDigest": f"sha256:{DIGEST}",
    "entryPoint": "train.py",
    "hyperparams": {"depth": 3},
    "datasetRefs": [{"name": "rain", "uri": "rain.parquet", "sha256": DIGEST}],
    "seed": 7,
}


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"deeper": value}
    return value


def test_the_wire_names_and_the_python_names_mean_the_same() -> None:
    by_wire = TrainingSpec.model_validate(GOOD)
    assert TrainingSpec.model_validate(by_wire.model_dump()) == by_wire
    assert by_wire.digest() == TrainingSpec.model_validate(by_wire.model_dump(mode="json", by_alias=True)).digest()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "Rain Fall"),
        ("model", "../rain"),
        ("codeRef", "https://example.org/rain.git@main"),
        ("codeRef", f"https://example.org/rain.git@{COMMIT[:-1]}"),
        ("codeRef", f"https://me:secret@example.org/rain.git@{COMMIT}"),
        ("codeRef", f"git+https://token@example.org/rain.git@{COMMIT}"),
        ("codeRef", f"ssh://git:secret@example.org/rain.git@{COMMIT}"),
        ("datasetRefs", [{"name": "rain", "uri": "https://me:secret@example.org/r", "sha256": DIGEST}]),
        ("containerDigest", DIGEST),
        ("containerDigest", f"sha256:{DIGEST.upper()}"),
        ("entryPoint", "../train.py"),
        ("entryPoint", "/usr/bin/train.py"),
        ("entryPoint", "train.sh"),
        ("entryPoint", "-c.py; rm"),
        ("hyperparams", _nested(17)),
        ("hyperparams", _nested(3000)),
        ("hyperparams", {"big": "x" * 70_000}),
        ("hyperparams", {"rate": float("nan")}),
        ("hyperparams", {"rate": float("inf")}),
        ("hyperparams", {"seed": 2**60}),
        ("hyperparams", [1]),
        ("datasetRefs", [{"name": "rain", "uri": "r", "sha256": "no hex"}]),
        ("datasetRefs", [{"name": "rain", "uri": "r", "sha256": DIGEST}] * 2),
        ("datasetRefs", [{"name": "rain", "uri": "", "sha256": DIGEST}]),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", None),
        ("surprise", 1),
    ],
)
def test_a_bad_field_of_a_training_spec_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainingSpec.model_validate(GOOD | {field: value})
    assert any(field in str(error["loc"]) or field in error["msg"] for error in refused.value.errors(include_input=False))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("codeRef", "https://code.example/rain@main", "must be pinned to a commit: write URL@COMMIT or PATH@COMMIT with all 40 hex digits"),
        ("codeRef", f"https://code.example/rain@{'0' * 40}\n", "must be pinned"),
        ("datasetRefs", {"name": "rain"}, "must be a list of datasets"),
        ("datasetRefs", "rain", "must be a list of datasets"),
    ],
)
def test_what_is_wrong_with_a_training_spec_is_told_in_words(field: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TrainingSpec.model_validate(GOOD | {field: value})
    assert [error["msg"].startswith(said) for error in refused.value.errors(include_input=False)] == [True]


def test_a_user_that_is_no_secret_may_stand_in_a_code_ref() -> None:
    assert TrainingSpec.model_validate(GOOD | {"codeRef": f"ssh://git@example.org/rain.git@{COMMIT}"}).seed == 7


@pytest.mark.parametrize("change", [{"seed": 8}, {"hyperparams": {"depth": 4}}, {"entryPoint": "other.py"}, {"model": "other"}])
def test_any_other_input_is_another_training(change: dict[str, Any]) -> None:
    assert TrainingSpec.model_validate(GOOD).digest() != TrainingSpec.model_validate(GOOD | change).digest()


def test_numbers_json_does_not_have_are_kept_as_text_in_a_claimed_evaluation() -> None:
    claimed = {"quality": float("nan"), "worst": {"loss": float("inf"), "gain": float("-inf")}, "fine": 0.5}
    request = PromotionRequest(artifact="rainfall", environment="prod", evaluation=claimed, requested_by="paul")
    assert request.evaluation == {"quality": "NaN", "worst": {"loss": "Infinity", "gain": "-Infinity"}, "fine": 0.5}


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainingSpec.model_validate(GOOD).seed = 9  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "request_changes", [{"evaluation": {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}, {"evaluation": {"big": "x" * 70_000}}]
)
def test_a_huge_or_deeply_nested_evaluation_is_refused(request_changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"nested deeper|larger than"):
        PromotionRequest.model_validate({"artifact": "a", "environment": "prod", "requestedBy": "p", **request_changes})
