"""What an evaluation is asked for: everything its result may depend on, besides the artifact itself."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from aiinfra_core import canonical_json, checksums
from aiinfra_core.domain.artifact import Evaluation, EvaluationKind
from aiinfra_core.domain.record import JsonObject, Record
from aiinfra_core.domain.training import CodeRef, DatasetRefs, EntryPoint, Seed


class EvaluationSource(StrEnum):
    """Whose number it is: measured by an evaluation that was run, measured by the artifact's own training, or said by a caller."""

    PIPELINE = "pipeline"
    TRAINING = "training"
    CALLER = "caller"


def source_of(kind: EvaluationKind, spec_digest: str | None) -> EvaluationSource:
    """Return whose number an evaluation is."""
    if kind is EvaluationKind.CLAIMED:
        return EvaluationSource.CALLER
    return EvaluationSource.TRAINING if spec_digest is None else EvaluationSource.PIPELINE


class EvaluationSpec(Record):
    """How artifacts are measured: two that were measured by the same spec were measured on the same data, and can be compared.

    The script is run like a training's, in a process of its own, and finds the artifact's bytes where its inputs say.
    """

    code_ref: CodeRef
    entry_point: EntryPoint = Field(description="Script to run; it writes the metrics.")
    dataset_refs: Annotated[DatasetRefs, Field(min_length=1, description="What it is measured on, each named by content.")]
    parameters: JsonObject = Field(default_factory=dict, description="What the script is told, as a JSON object.")
    seed: Seed = 0

    def digest(self) -> str:
        """Return the hex SHA-256 of the spec's canonical JSON: the identity of this way of measuring."""
        return checksums.sha256_hex(canonical_json.dumps(self.model_dump(mode="json", by_alias=True)))


def difference(challenger: Evaluation, champion: Evaluation) -> dict[str, float]:
    """Return by how much the challenger's number is above the champion's, for each metric that both have."""
    both = challenger.metrics.keys() & champion.metrics.keys()
    return {name: challenger.metrics[name] - champion.metrics[name] for name in sorted(both)}


def source_in_words(kind: str, spec: Mapping[str, Any] | None) -> str:
    """Return whose number an evaluation of this kind and spec (as it is recorded) is, for people."""
    if spec is not None:
        return f"measured by {spec['entryPoint']}"
    return "measured by its training" if kind == EvaluationKind.MEASURED else "claimed"
