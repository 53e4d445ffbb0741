"""What the three writes of the seed take: a training, a registration, a promotion."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, Strict

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import SignatureName
from aiinfra_core.domain.record import Actor, JsonObject, Location, Name, Record, Sha256
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.domain.training import CodeRef, ContainerDigest, DatasetRefs, EntryPoint, Seed

MAX_EVALUATION_BYTES = 8 * 1024


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(canonical_json.dumps(value)) > MAX_EVALUATION_BYTES:
        raise ValueError(f"is larger than {MAX_EVALUATION_BYTES} bytes as JSON; claim scores, and keep what they came from in a dataset")
    return value


class AskedTraining(Record):
    """A training that is asked for; without a seed one is drawn and recorded."""

    code_ref: CodeRef
    container_digest: ContainerDigest
    entry_point: EntryPoint | None = Field(default=None, description="Script to run; without one the inputs alone make the artifact.")
    hyperparams: JsonObject = Field(default_factory=dict, description="What the training is told, as a JSON object.")
    dataset_refs: DatasetRefs = ()
    seed: Annotated[Seed, Strict()] | None = Field(default=None, description="Where all randomness starts; without one it is drawn.")
    model: Name | None = Field(default=None, description="Name of the model; without one, what `codeRef` ends in.")


class AskedRegistration(Record):
    """Stored bytes that are to become the next version of a model; a training job brings its model."""

    training_job_id: UUID | None = Field(default=None, description="The job that made them, if one did.")
    artifact_uri: Location = Field(max_length=2048, description="Where the bytes are, under a root this service may read.")
    checksum: Sha256 = Field(description="Their digest, in hex.")
    metadata: JsonObject = Field(default_factory=dict, description="Kept with the version, as a JSON object.")
    manifest_signature_id: SignatureName | None = Field(
        default=None, description="Name of a signature another system made over a manifest."
    )
    model: Name | None = Field(default=None, description="Name of the model, needed where no job made it.")


class AskedRollback(Record):
    """A model that is to go back, in an environment, to what was current there before; an open rollout is ended by it."""

    model: Name = Field(description="The model.")
    environment: str = Field(min_length=1, max_length=128, description="Where it is to go back.")
    to: int | None = Field(default=None, ge=1, lt=2**53, description="The version to go back to; without one, what was current before.")
    reason: str = Field(min_length=1, max_length=1000, description="Why; it is signed and kept.")
    requested_by: Actor | None = Field(
        default=None, description="Who asks for it: you; only an administrator may name somebody else, and is recorded as the actor."
    )


class AskedPromotion(Record):
    """A registered artifact that is to become current in an environment."""

    artifact_id: UUID = Field(description="The artifact.")
    environment: str = Field(min_length=1, max_length=128, description="Where it is to become current.")
    evaluation: Annotated[JsonObject, AfterValidator(_small)] | None = Field(
        default=None,
        description="Scores you claim, such as `quality`, at most 8 KB as JSON; without them, what was measured is judged.",
    )
    judged_on: Sha256 | None = Field(
        default=None, description="Digest of the recorded evaluation to judge; without it and without a claim, the newest measured."
    )
    rollout: RolloutSpec | None = Field(
        default=None, description="How it is to earn its traffic; without it, the environment's own way, or all at once."
    )
    overrides: UUID | None = Field(default=None, description="The rollout that sent these bytes back, where they are to be tried again.")
    requested_by: Actor | None = Field(
        default=None, description="Who asks for it: you; only an administrator may name somebody else, and is recorded as the actor."
    )
