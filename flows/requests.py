"""What a run is asked for where the domain has no record for it; Prefect draws its form from these. No secret belongs in one."""

from typing import Annotated

from pydantic import Field

from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.record import Actor, Name, Record, RequestId
from aiinfra_core.domain.training import TrainingSpec


class TrainingRequest(Record):
    """Ask for a training; the same spec is trained once, whatever it ended in."""

    spec: TrainingSpec = Field(description="All the training may depend on; the same spec gives the same bytes.")
    requested_by: Actor = Field(description="Who asks for it.")
    request_id: RequestId | None = Field(default=None, description="Your own name for this request; without one it is the spec's digest.")


class EvaluationRequest(Record):
    """Ask for an artifact to be measured; the same spec is run once for it."""

    artifact: str = Field(description="An artifact id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`.")
    spec: EvaluationSpec = Field(description="How it is measured, and on which data.")
    against: str | None = Field(default=None, description="An environment: what is current there is measured by the same spec too.")
    requested_by: Actor = Field(description="Who asks for it.")

    @property
    def what(self) -> str:
        """Return what is measured as a person would say it."""
        return self.artifact if self.against is None else f"{self.artifact} against {self.against}"


class PipelineRequest(Record):
    """Ask for a model to be trained, registered and promoted; asked again it does nothing twice."""

    spec: TrainingSpec = Field(description="All the training may depend on; the same spec gives the same bytes.")
    environments: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)] = Field(
        default=("staging", "prod"), description="Where it is promoted to, in this order; the first no ends the way."
    )
    evaluation: EvaluationSpec | None = Field(
        default=None,
        description="How it, and what is current where it goes, is measured before each promotion; else its training's word counts.",
    )
    requested_by: Actor = Field(description="Who asks for it.")

    @property
    def route(self) -> str:
        """Return the environments as a person would say them."""
        return ", ".join(self.environments)
