"""Every kind of row but those of training and promoting, for a platform that has a model `rainfall`; some have values over 4 KB."""

from datetime import UTC, datetime
from uuid import uuid4

from aiinfra_core import approving, artifact_store, cards, database, evaluating, promoting, pruning, registering
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind, RegistrationRequest
from aiinfra_core.domain.card import CardText
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.domain.reproduction import Outcome, Reproduction
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.importing import copying
from aiinfra_core.importing.go_service import service_at
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import artifacts, evaluations, jobs, reproductions
from aiinfra_core.settings import Settings
from tests.simulators import approvers
from tests.simulators.go_service import go_service

ASKS_PEOPLE = """\
name: asks-people
version: "1"
description: One of security and one ml-lead agree.
answers: {allow: agreed, deny: not-agreed}
rules:
  - {id: scored, expression: evaluation.metrics.quality > 0.5, reason: "It scored {evaluation.metrics.quality}."}
approvals: {roles: {security: 1, ml-lead: 1}}
"""


def write_cards(settings: Settings) -> None:
    """Say something about a model, twice, and much about a version of it."""
    for words in ("rain", "rain, in millimetres"):
        cards.write_card(settings, CardText(description=words, tags={"team": "weather"}), model="rainfall", written_by="carla")
    tags = {f"tag-{number}": "value " * 20 for number in range(60)}
    long = CardText(description="Ränge " * 200, tags=tags, card="# Rainfall ☂\n" * 3000)
    cards.write_card(settings, long, model="rainfall", version=1, written_by="carla")


def import_some(settings: Settings) -> None:
    """Copy a job, two artifacts, one of them with much metadata and one that cannot be read, and a promotion."""
    with go_service() as old:
        artifact = old.trained(_stored(settings, "imported"), b"imported", model="imported", metadata={"notes": "It rained. " * 900})
        old.promoted(artifact, "prod")
        old.trained("s3://elsewhere/x.model", b"x", model="imported")
        copying.copy(settings, service_at(old.url, None), imported_by="ida")


def measure_and_reproduce(settings: Settings) -> None:
    """Keep of two versions an evaluation that was run and a reproduction, one of them with a long report; nothing is run for it."""
    for version, outcome in ((1, Outcome.IDENTICAL), (2, Outcome.FAILED)):
        with database.autocommit(settings) as connection:
            artifact = artifacts.find(connection, f"rainfall:{version}")
            assert artifact.training_job_id is not None
            training = jobs.get(connection, artifact.training_job_id).attestation or ""
        _evaluated(settings, artifact)
        reproduction = Reproduction(
            id=uuid4(),
            artifact_id=artifact.id,
            request_id=f"again-{version}",
            outcome=outcome,
            reproduced_checksum=artifact.checksum if outcome is Outcome.IDENTICAL else None,
            report={"files": [], "notes": "It rained. " * 900 * (version - 1)},
            attestation=None,
            reproduced_by="rhea",
            started_at=datetime.now(UTC),
            finished_at=datetime.now(UTC),
            created_at=datetime.now(UTC),
        )
        statement = attest(claims.of_reproduction(reproduction, artifact, training), configured_signer(settings, Purpose.EVALUATION))
        with database.autocommit(settings) as connection:
            reproductions.record(connection, reproduction, statement, {"version": version})


def _evaluated(settings: Settings, artifact: Artifact) -> None:
    data = DatasetRef(name="held-out", uri="s3://data/held-out.csv", sha256="d" * 64)
    spec = EvaluationSpec(code_ref=f"/code@{'a' * 40}", entry_point="evaluate.py", dataset_refs=(data,), parameters={"note": "long " * 900})
    scored = evaluating.judged(artifact, EvaluationKind.MEASURED, {"quality": 0.91}, spec.digest())
    evaluation = Evaluation(
        id=uuid4(),
        artifact_id=artifact.id,
        recorded_by="eve",
        created_at=datetime.now(UTC),
        spec=spec.model_dump(mode="json", by_alias=True),
        **scored.model_dump(),
    )
    statement = attest(claims.of_evaluation(artifact, evaluation, spec.dataset_refs), configured_signer(settings, Purpose.EVALUATION))
    with database.autocommit(settings) as connection:
        evaluations.record(connection, artifact, evaluation, statement)


def ask_people(settings: Settings) -> None:
    """Ask under a policy that wants people to agree: two do and take it back, then two others do, and it is applied."""
    policy = settings.home / "asks-people.yaml"
    policy.write_text(ASKS_PEOPLE)
    asking = settings.model_copy(update={"policy": str(policy)})
    request = PromotionRequest(artifact="rainfall:1", environment="staging", evaluation={"quality": 0.97}, requested_by="paul")
    waits = promoting.promote(asking, request)
    assert waits.status is PromotionStatus.PENDING_APPROVAL, waits.reason
    for name in ("sam", "lea"):
        given, _ = approvers.agree_by_name(asking, waits, name, "security")
        approving.withdraw(asking, given.id, identity=approvers.vouched(name, ["security"]), reason="not yet")
    approvers.agree_by_name(asking, waits, "max", "security")
    _, done = approvers.agree_by_name(asking, waits, "mia", "ml-lead")
    assert done.status is PromotionStatus.APPLIED, done.reason


def prune_two(settings: Settings) -> None:
    """Register an artifact of each of two models, and remove the bytes of both."""
    for model in ("frost", "hail"):
        uri = _stored(settings, model)
        checksum = artifact_store.measure(artifact_store.location(settings), uri).checksum
        registering.register(settings, RegistrationRequest(model=model, artifact_uri=uri, checksum=checksum, registered_by="rita"))
        rule = RetentionRule(older_than_days=0, keep_last=0)
        (done,) = pruning.prune(settings, rule, pruning.plan(settings, rule, model), pruned_by="olga", reason=None)
        assert done.removed is not None
        assert done.removed.files == 1


def _stored(settings: Settings, name: str) -> str:
    source = settings.home / f"{name}.bin"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    return artifact_store.put(artifact_store.location(settings), source, f"uploads/{name}").uri
