"""The shapes of what a statement may claim, one record per predicate type, under the names of the wire.

Standard predicates ignore fields they do not know, as in-toto asks; ours refuse them. Those of claims about earlier claims are in
`confirmation_predicates`, about traffic in `rollout_predicates`. Building lives in `statements`, `confirmations` and `custody`.
"""

from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from aiinfra_core.domain.record import Sha256
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.evidence import confirmation_predicates as confirming
from aiinfra_core.evidence import rollout_predicates as rolling
from aiinfra_core.evidence.predicate_parts import Own, Standard, Timestamp, WholeNumber

TRAINING = "https://slsa.dev/provenance/v1"
REGISTRATION = "urn:ai-infra:attestation:registration:v1"
EVALUATION = "urn:ai-infra:attestation:evaluation:v1"
REPRODUCTION = "urn:ai-infra:attestation:reproduction:v1"
SCAN = "urn:ai-infra:attestation:scan:v1"
APPROVAL = "urn:ai-infra:attestation:approval:v1"
VOUCHED_APPROVAL = "urn:ai-infra:attestation:vouched-approval:v1"
WITHDRAWAL = "urn:ai-infra:attestation:withdrawal:v1"
VOUCHED_WITHDRAWAL = "urn:ai-infra:attestation:vouched-withdrawal:v1"
ROUTING = "urn:ai-infra:attestation:routing:v1"
ROLLOUT_ORDER = "urn:ai-infra:attestation:rollout-order:v1"
EXPORT = "urn:ai-infra:attestation:export:v1"
IMPORT = "urn:ai-infra:attestation:import:v1"
TOMBSTONE = "urn:ai-infra:attestation:tombstone:v1"
PROMOTION = "https://slsa.dev/verification_summary/v1"
PROMOTION_EXTENSION = "urn:ai-infra:attestation:promotion:v1"
BUILD_TYPE = "urn:ai-infra:build:training:v1"
VERIFIER = "urn:ai-infra:verifier"
PROMOTED_LEVEL = "AIINFRA_PROMOTED"
EXECUTOR = "urn:ai-infra:executor:"
DECLARED_BY = "urn:ai-infra:executor:declared-by"


class Sha256Digest(Standard):
    """A digest set with a SHA-256 in it."""

    sha256: Sha256


class GitDigest(Standard):
    """A digest set with a git commit in it."""

    git_commit: str = Field(pattern=r"^[0-9a-f]{40}$")


class Dependency(Standard):
    """Something the training read, by name and digest."""

    name: str
    uri: str | None = None
    digest: Sha256Digest | GitDigest


class TrainingParameters(Standard):
    """What the person who trains asked for; without an entry point the artifact is derived from these alone."""

    model: str
    code_ref: str
    entry_point: str | None
    container_digest: str
    container_digest_source: Literal["declared"]
    seed: WholeNumber
    hyperparams_digest: Sha256Digest


class BuildDefinition(Standard):
    """What was to be built, from what."""

    build_type: Literal["urn:ai-infra:build:training:v1"]
    external_parameters: TrainingParameters
    resolved_dependencies: tuple[Dependency, ...]


class Builder(Standard):
    """Which executor ran the job; an `external` one was not ours, and all it says of the run is what `declared_by` declared."""

    id: Literal["urn:ai-infra:executor:process", "urn:ai-infra:executor:deterministic", "urn:ai-infra:executor:external"]
    declared_by: str | None = Field(default=None, alias=DECLARED_BY)


class BuildMetadata(Standard):
    """Which job it was and when it ran."""

    invocation_id: str
    started_on: Timestamp
    finished_on: Timestamp


class RunDetails(Standard):
    """How the job ran."""

    builder: Builder
    metadata: BuildMetadata


class Training(Standard):
    """SLSA provenance v1: how an artifact was trained."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Registration(Own):
    """These bytes were registered under a model's name; the version is allocated later and stands in the audit log."""

    artifact_id: str
    model: str
    artifact_uri: str
    training_job_id: str | None
    provenance: Literal["recorded", "none"]
    training_attestation: Sha256 | None
    metadata_digest: Sha256
    manifest_signature_id: str | None
    registered_by: str
    registered_at: Timestamp


class EvaluatedDataset(Own):
    """Data an evaluation was measured on."""

    name: str
    sha256: Sha256


class Evaluation(Own):
    """How an artifact scored; `metrics` and `datasets` are null where only `evaluation_digest` had room.

    `spec_digest` is only there where an evaluation of its own was run, and then is of what was run.
    """

    artifact_id: str
    model: str
    kind: Literal["measured", "claimed"]
    metrics: dict[str, str] | None
    datasets: tuple[EvaluatedDataset, ...] | None
    evaluation_digest: Sha256
    spec_digest: Sha256 | None = None
    recorded_by: str
    evaluated_at: Timestamp


class PromotionExtension(Own):
    """What the verification summary has no words for: who asked, which promotion this one follows, and who has to agree.

    `approvals_required` (role -> how many owners) is only there where somebody has to; they agree to this very statement, later.
    `rollout_digest` is of the spec by which it has to earn its traffic, `overrides` the rollout that had sent the same bytes back,
    `replaces` the promotion that a rollback goes back from; each is only there where there is one.
    """

    promotion_id: str
    environment: str
    sequence: StrictInt = Field(ge=1, lt=2**53)
    follows: Sha256 | None
    requested_by: str
    approvers: tuple[str, ...]
    rollback: StrictBool
    approvals_required: dict[str, StrictInt] | None = None
    rollout_digest: Sha256 | None = None
    overrides: str | None = None
    replaces: str | None = None


class Policy(Standard):
    """Which policy was applied, and its exact text where the policy has a digest."""

    uri: str
    digest: Sha256Digest | None = None


class InputAttestation(Standard):
    """A statement that was looked at."""

    uri: str
    digest: Sha256Digest


class Verifier(Standard):
    """Who verified."""

    id: Literal["urn:ai-infra:verifier"]


class Promotion(Standard):
    """SLSA verification summary v1 with our one extension field."""

    verifier: Verifier
    time_verified: Timestamp
    resource_uri: str = Field(pattern=r"^mlmodel://[a-z0-9._-]+/[1-9][0-9]*\?env=[a-z0-9._-]+$")
    policy: Policy
    input_attestations: tuple[InputAttestation, ...]
    verification_result: Literal["PASSED"]
    verified_levels: tuple[Literal["AIINFRA_PROMOTED"]]
    slsa_version: str
    promotion: PromotionExtension = Field(alias=PROMOTION_EXTENSION)


Predicate = (
    Training
    | Registration
    | Evaluation
    | Promotion
    | confirming.Reproduction
    | confirming.Scan
    | confirming.Approval
    | confirming.Withdrawal
    | confirming.Export
    | confirming.Import
    | confirming.Tombstone
    | rolling.Routing
    | rolling.RolloutOrder
)
SHAPES: dict[str, type[Predicate]] = {
    TRAINING: Training,
    REGISTRATION: Registration,
    EVALUATION: Evaluation,
    REPRODUCTION: confirming.Reproduction,
    SCAN: confirming.Scan,
    APPROVAL: confirming.Approval,
    VOUCHED_APPROVAL: confirming.VouchedApproval,
    WITHDRAWAL: confirming.Withdrawal,
    VOUCHED_WITHDRAWAL: confirming.VouchedWithdrawal,
    PROMOTION: Promotion,
    EXPORT: confirming.Export,
    IMPORT: confirming.Import,
    TOMBSTONE: confirming.Tombstone,
    ROUTING: rolling.Routing,
    ROLLOUT_ORDER: rolling.RolloutOrder,
}
PURPOSES: dict[str, Purpose] = {
    TRAINING: Purpose.ARTIFACT,
    REGISTRATION: Purpose.ARTIFACT,
    EVALUATION: Purpose.EVALUATION,
    REPRODUCTION: Purpose.EVALUATION,
    SCAN: Purpose.ARTIFACT,
    APPROVAL: Purpose.APPROVAL,
    VOUCHED_APPROVAL: Purpose.VOUCHING,
    WITHDRAWAL: Purpose.APPROVAL,
    VOUCHED_WITHDRAWAL: Purpose.VOUCHING,
    PROMOTION: Purpose.PROMOTION,
    EXPORT: Purpose.AUDIT,
    IMPORT: Purpose.ARTIFACT,
    TOMBSTONE: Purpose.ARTIFACT,
    ROUTING: Purpose.PROMOTION,
    ROLLOUT_ORDER: Purpose.PROMOTION,
}
