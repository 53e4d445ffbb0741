"""Steps 6 and 8: what the log's rows say against what was signed, and every statement that another leans on."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle, dsse
from aiinfra_core.evidence.kept_rows import text_digest
from aiinfra_core.evidence.predicates import EXECUTOR, Evaluation, Registration, Sha256Digest, Training
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.log import Entry, Row
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story

RECORD = "training.json"


@dataclass(frozen=True)
class Registered:
    """A registration whose statement and whose row in the log agree; the version is the log's."""

    claim: Claim
    predicate: Registration
    version: int

    @property
    def subject(self) -> Subject:
        """The artifact's bytes."""
        return self.claim.statement.subject


def check_inputs(story: Story, step: Step) -> dict[str, Registered]:
    """Check every registration, training and evaluation, and what each promotion leans on; return digest -> sound registration (8)."""
    registered = {}
    for claim, predicate in story.saying(Registration):
        with step.at(claim.place):
            registered[claim.digest] = _registration(story, claim, predicate)
    records = set()
    for claim, training in story.saying(Training):
        with step.at(claim.place):
            records.add(f"{_check_training(story, claim, training)}.json")
    for name in story.files.below("training").keys() - records:
        step.add(f"training/{name}", "No training here that holds names it.")
    for claim, evaluation in story.saying(Evaluation):
        with step.at(claim.place):
            _check_evaluation(story, claim, evaluation)
    for manifest in story.manifests():
        with step.at(manifest.claim.place):
            _check_leans_on(story, manifest, registered)
    without = (
        "" if all(one.predicate.training_attestation for one in registered.values()) else "; one was trained elsewhere, without provenance"
    )
    step.found = f"every statement leaned on is here and agrees (registrations: {len(registered)}{without})"
    return registered


def agree(place: str, row: Row, expected: Mapping[str, Any]) -> None:
    """Check columns of a row that the log took in.

    Raises:
        EvidenceBroken: at `log row`, naming the columns.
    """
    different = [name for name, value in expected.items() if row.get(name) != value]
    if different:
        raise EvidenceBroken("log row", f"{', '.join(different)} in {place} is not what was signed.")


def told_by(story: Story, claim: Claim, event_type: str) -> Entry:
    """Return the entry that took an attestation in.

    Raises:
        EvidenceBroken: at `log row`; it is another kind of event.
    """
    entry = story.taken_in[claim.digest]
    if entry.event_type != event_type:
        raise EvidenceBroken("log row", f"{entry.place} is a {entry.event_type[:40]} where a {event_type} must take it in.")
    return entry


def same_subject(claim: Claim, subject: Subject) -> None:
    """Check that a claim is about these bytes.

    Raises:
        EvidenceBroken: at `inputs`.
    """
    if claim.statement.subject != subject:
        raise EvidenceBroken("inputs", f"{claim.place} is about another artifact.")


def _registration(story: Story, claim: Claim, said: Registration) -> Registered:
    entry = told_by(story, claim, "artifact.registered")
    row, subject = entry.row("model_artifacts"), claim.statement.subject
    agree(
        entry.place,
        row,
        {
            "id": said.artifact_id,
            "model": said.model,
            "training_job_id": said.training_job_id,
            "digest_kind": subject.digest_kind.value,
            "checksum": subject.checksum,
            "manifest_signature_id": said.manifest_signature_id,
            "signature": dsse.parse(claim.envelope).signatures[0].base64,
            "attestation": claim.digest,
            "registered_by": said.registered_by,
            "created_at": said.registered_at,
        },
    )
    if text_digest(row.get("metadata")) != said.metadata_digest or text_digest(row.get("artifact_uri")) != sha256_hex(
        said.artifact_uri.encode()
    ):
        raise EvidenceBroken("log row", f"metadata or artifact_uri in {entry.place} is not what was signed.")
    version = row.get("version")
    if type(version) is not int or version < 1 or subject.name != said.model:
        raise EvidenceBroken("log row", f"{entry.place} gives it no version, or another name.")
    agree(entry.place, entry.row("models"), {"name": said.model, "last_version": version})
    if (said.training_job_id is None) != (said.training_attestation is None):
        raise EvidenceBroken("inputs", "it has a training job without a provenance, or a provenance without a job.")
    if said.training_attestation is not None:
        training, provenance = story.claim(said.training_attestation, Training)
        same_subject(training, subject)
        if provenance.run_details.metadata.invocation_id != said.training_job_id:
            raise EvidenceBroken("inputs", "its provenance is of another training job.")
    return Registered(claim, said, version)


def _check_training(story: Story, claim: Claim, said: Training) -> str:
    """Check one training and return the digest of its record."""
    entry = told_by(story, claim, "training.completed")
    asked, run, subject = said.build_definition.external_parameters, said.run_details.metadata, claim.statement.subject
    record = _record_digest(said)
    row = entry.row("training_jobs")
    agree(
        entry.place,
        row,
        {
            "id": run.invocation_id,
            "status": "completed",
            "model": asked.model,
            "code_ref": asked.code_ref,
            "container_digest": asked.container_digest,
            "entry_point": asked.entry_point,
            "digest_kind": subject.digest_kind.value,
            "checksum": subject.checksum,
            "training_record_sha256": record,
            "attestation": claim.digest,
            "started_at": run.started_on,
            "finished_at": run.finished_on,
        },
    )
    if str(row.get("seed")) != asked.seed or text_digest(row.get("hyperparams")) != asked.hyperparams_digest.sha256:
        raise EvidenceBroken("log row", f"seed or hyperparams in {entry.place} is not what was signed.")
    _check_record(story, record, claim, said, str(row.get("spec_digest")))
    if said.run_details.builder.declared_by not in (None, entry.event.get("actor")):
        raise EvidenceBroken("log row", f"{entry.place} was told by somebody else than who declared the training.")
    return record


def _record_digest(said: Training) -> str:
    for dependency in said.build_definition.resolved_dependencies:
        if dependency.name == RECORD and isinstance(dependency.digest, Sha256Digest):
            return dependency.digest.sha256
    raise EvidenceBroken("inputs", f"it names no {RECORD}.")


def _check_record(story: Story, digest: str, claim: Claim, said: Training, spec_digest: str) -> None:
    name = bundle.training_name(digest)
    data = story.files.files.get(name)
    if data is None or sha256(data).hexdigest() != digest:
        raise EvidenceBroken("inputs", f"{name} is missing or has another digest.")
    read, builder = canonical_json.loads(data, what=name), said.run_details.builder
    if builder.id != f"{EXECUTOR}{read['executor']}" or (read["executor"] == "external") != (builder.declared_by is not None):
        raise EvidenceBroken("inputs", f"{name} tells of another executor than {claim.place}.")
    spec = TrainingSpec.model_validate(read["spec"])
    asked = said.build_definition.external_parameters
    same = (spec.model, spec.code_ref, spec.entry_point, spec.container_digest, str(spec.seed))
    if same != (asked.model, asked.code_ref, asked.entry_point, asked.container_digest, asked.seed) or spec.digest() != spec_digest:
        raise EvidenceBroken("inputs", f"{name} tells of another training than {claim.place}.")


def _check_evaluation(story: Story, claim: Claim, said: Evaluation) -> None:
    entry = told_by(story, claim, "evaluation.recorded")
    row = entry.row("evaluations")
    agree(
        entry.place,
        row,
        {
            "artifact_id": said.artifact_id,
            "kind": said.kind,
            "digest": said.evaluation_digest,
            "spec_digest": said.spec_digest,
            "attestation": claim.digest,
            "recorded_by": said.recorded_by,
            "created_at": said.evaluated_at,
        },
    )
    if text_digest(row.get("spec")) != said.spec_digest:
        raise EvidenceBroken("log row", f"spec in {entry.place} is not what was signed.")
    metrics = story.value(row.get("metrics"))
    if metrics is not None:
        check_evaluation_digest(claim.statement.subject.checksum, said, canonical_json.loads(metrics, what="The metrics"))


def check_evaluation_digest(checksum: str, said: Evaluation, metrics: Any) -> None:
    """Check that metrics are those an evaluation was signed for.

    Raises:
        EvidenceBroken: at `inputs`.
    """
    identity = {"artifact": checksum, "artifactId": said.artifact_id, "kind": said.kind, "metrics": metrics}
    identity |= {"specDigest": said.spec_digest} if said.spec_digest else {}
    texts = {name: value if isinstance(value, str) else canonical_json.dumps(value).decode() for name, value in metrics.items()}
    if sha256_hex(canonical_json.dumps(identity)) != said.evaluation_digest or said.metrics not in (None, texts):
        raise EvidenceBroken("inputs", "its metrics are not those the log took in.")


def _check_leans_on(story: Story, manifest: Manifest, registered: Mapping[str, Registered]) -> None:
    subject = manifest.claim.statement.subject
    inputs = [story.claims.get(digest) for digest in manifest.inputs]
    for digest, claim in zip(manifest.inputs, inputs, strict=True):
        if claim is None:
            raise EvidenceBroken("inputs", f"the statement {digest} it leans on is missing or did not verify.")
        same_subject(claim, subject)
    registrations = [registered[digest] for digest in manifest.inputs if digest in registered]
    if len(registrations) != 1:
        raise EvidenceBroken("inputs", "it must lean on exactly one sound registration.")
    (one,) = registrations
    if (one.predicate.model, one.version) != (manifest.model, manifest.version):
        raise EvidenceBroken(
            "inputs", f"it is about {manifest.model}:{manifest.version}, but the log has {one.predicate.model}:{one.version}."
        )
    if one.predicate.training_attestation not in (None, *manifest.inputs):
        raise EvidenceBroken("inputs", "it leans on a registration, but not on its training.")
