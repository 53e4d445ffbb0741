"""The deterministic executor's artifact depends on the declared inputs and on nothing else."""

import json
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.training.deterministic import artifact
from aiinfra_core.training.execute import execute

hex_digits = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
datasets = st.tuples(names, hex_digits).map(lambda named: DatasetRef(name=named[0], uri="s3://bucket/data", sha256=named[1]))
specs = st.fixed_dictionaries(
    {
        "model": names,
        "code_ref": hex_digits.map(lambda digits: f"https://example.org/code@{digits[:40]}"),
        "container_digest": hex_digits.map("sha256:{}".format),
        "hyperparams": st.dictionaries(st.text(max_size=8), json_values, max_size=3),
        "dataset_refs": st.lists(datasets, max_size=3, unique_by=lambda ref: ref.name).map(tuple),
        "seed": st.integers(0, 2**32 - 1),
    }
).map(TrainingSpec.model_validate)


def shuffled(value: Any) -> Any:
    """Return an equal JSON value whose keys were written in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(specs)
def test_equal_inputs_give_equal_bytes_however_they_were_written(spec: TrainingSpec) -> None:
    again = TrainingSpec.model_validate(shuffled(json.loads(spec.model_dump_json())))
    assert artifact(again) == artifact(spec)


@given(specs, specs)
def test_different_inputs_give_different_bytes(one: TrainingSpec, other: TrainingSpec) -> None:
    assume(one.digest() != other.digest())
    assert artifact(one) != artifact(other)


@given(specs)
def test_the_artifact_is_canonical_json_that_names_the_spec(spec: TrainingSpec) -> None:
    made = canonical_json.loads(artifact(spec))
    assert canonical_json.dumps(made) == artifact(spec)
    assert made["specSha256"] == spec.digest()


@settings(max_examples=5, deadline=None)
@given(spec=specs)
def test_it_needs_no_code_no_data_and_no_fixed_place(tmp_path_factory: Any, spec: TrainingSpec) -> None:
    folders: list[Path] = [tmp_path_factory.mktemp("scratch") for _ in range(2)]
    runs = [execute(spec, scratch=folder, cache=folder / "cache", timeout_seconds=1, on_output=print) for folder in folders]
    assert runs[0].output and runs[1].output
    assert runs[0].output.read_bytes() == runs[1].output.read_bytes() == artifact(spec)
    assert runs[0].training_record == runs[1].training_record
    assert (runs[0].executor, runs[0].error, runs[0].exit_code, runs[0].commit) == ("deterministic", None, 0, None)
