"""The bill of materials of one registered model (CycloneDX 1.6, ML-BOM): what it was made of, how it scored, what vouches for it.

A pure function of what is recorded: the same records give the same bytes. A file's digest is the component's hash; a directory's
`dirHash` is a property, because CycloneDX knows hashes of single files only. Model cards, which `cyclonedx-python-lib` has no words for,
are written here in the schema's. Gathering the records lives in `describing`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Commit, Component, ComponentType, Pedigree
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import Artifact, DigestKind, Evaluation, EvaluationKind
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.training import DatasetRef, TrainingJob
from aiinfra_core.errors import BadInput, EvidenceBroken

APPROACHES = ("supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised")
_MODEL_TEXTS = ("task", "architectureFamily", "modelArchitecture")
_CONSIDERATIONS = ("users", "useCases", "technicalLimitations", "performanceTradeoffs")
# What surely is an absolute IRI; any other place is told as a property only.
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&()*+,;=:@/-]*)?", re.ASCII)


class _EnvironmentLock(BaseModel):
    model_config = ConfigDict(frozen=True)
    implementation: str
    interpreter: str
    packages: tuple[str, ...]
    platform: str
    digest: str


class _TrainingRecord(BaseModel):
    model_config = ConfigDict(frozen=True)
    executor: str
    declared_by: str | None = Field(default=None, alias="declaredBy")
    environment: _EnvironmentLock | None

    @model_validator(mode="after")
    def _ours_tells_its_environment(self) -> "_TrainingRecord":
        if self.environment is None and self.declared_by is None:
            raise ValueError("only an executor of somebody else need not declare its environment")
        return self


def bill_of_materials(
    *,
    artifact: Artifact,
    job: TrainingJob | None = None,
    training_record: bytes | None = None,
    evaluations: Sequence[Evaluation] = (),
    promotions: Sequence[Promotion] = (),
) -> bytes:
    """Return the ML-BOM of an artifact as UTF-8 JSON.

    The timestamp is the registration's; the version rises with every evaluation and promotion given, so give all of them.

    Args:
        artifact: the registered artifact.
        job: the training that made it, None where it has no provenance.
        training_record: the exact bytes of that training's `training.json`.
        evaluations: its evaluations, oldest first; the newest run, else the newest measured, is in the card, the newest claim beside it.
        promotions: those of it that were applied.

    Raises:
        EvidenceBroken: at `training.json`; it is not what a training writes.
    """
    record = None if training_record is None else _read_record(training_record)
    model, parts = _model(artifact, job, record, evaluations, promotions), [*_datasets(job), *_environment(record)]
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"mlmodel://{artifact.model}/{artifact.version}?registration={artifact.attestation}"),
        version=1 + len(evaluations) + len(promotions),
        metadata=BomMetaData(timestamp=artifact.created_at, component=model, tools=ToolRepository(components=[_tool()])),
        components=parts,
    )
    bom.register_dependency(model, parts)
    value = json.loads(JsonV1Dot6(bom).output_as_string())
    value["metadata"]["component"]["modelCard"] = _model_card(artifact, job, evaluations)
    _describe_data(value.get("components", ()), job)
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"


def _read_record(data: bytes) -> _TrainingRecord:
    try:
        return _TrainingRecord.model_validate(canonical_json.loads(data, what="training.json"))
    except (BadInput, ValidationError) as error:
        raise EvidenceBroken("training.json", f"it is not what a training writes ({type(error).__name__}).") from None


def _tool() -> Component:
    return Component(name="ai-infrastructure", type=ComponentType.APPLICATION)


def _model(
    artifact: Artifact,
    job: TrainingJob | None,
    record: _TrainingRecord | None,
    evaluations: Sequence[Evaluation],
    promotions: Sequence[Promotion],
) -> Component:
    is_file = artifact.digest_kind is DigestKind.FILE
    description = artifact.metadata.get("description")
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{artifact.model}:{artifact.version}",
        name=artifact.model,
        version=str(artifact.version),
        description=description if isinstance(description, str) else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.checksum)] if is_file else [],
        pedigree=_pedigree(job),
        external_references=[*_reference(ExternalReferenceType.DISTRIBUTION, artifact.artifact_uri), *_code_reference(job)],
        properties=[
            *_properties(_facts(artifact)),
            *_properties(_training_facts(job, record)),
            *_properties({"statement:registration": artifact.attestation, "statement:training": job.attestation if job else None}),
            *(_property("statement:evaluation", it.attestation) for it in evaluations if it.attestation),
            *(_property("statement:promotion", it.manifest) for it in promotions if it.manifest),
        ],
    )


def _facts(artifact: Artifact) -> dict[str, str | None]:
    return {
        "artifact:id": str(artifact.id),
        "artifact:uri": artifact.artifact_uri,
        "artifact:size": str(artifact.size_bytes),
        "artifact:dirHash": artifact.checksum if artifact.digest_kind is DigestKind.DIRECTORY else None,
        "provenance": "trained" if artifact.training_job_id else "no provenance",
    }


def _training_facts(job: TrainingJob | None, record: _TrainingRecord | None) -> dict[str, str | None]:
    if job is None:
        return {}
    return {
        "training:job": str(job.id),
        "training:code": job.spec.code_ref,
        "training:entryPoint": job.spec.entry_point,
        "training:seed": str(job.spec.seed),
        "training:containerDigest": job.spec.container_digest,
        "training:containerDigestSource": "declared",
        "training:record": job.training_record_sha256,
        "training:executor": record.executor if record else None,
        "training:declaredBy": record.declared_by if record else None,
        "training:environmentDigest": record.environment.digest if record and record.environment else None,
        "training:platform": record.environment.platform if record and record.environment else None,
    }


def _pedigree(job: TrainingJob | None) -> Pedigree | None:
    if job is None:
        return None
    place, _, commit = job.spec.code_ref.rpartition("@")
    return Pedigree(commits=[Commit(uid=commit, url=XsUri(place) if _URL.fullmatch(place) else None)])


def _code_reference(job: TrainingJob | None) -> Iterable[ExternalReference]:
    return () if job is None else _reference(ExternalReferenceType.VCS, job.spec.code_ref.rpartition("@")[0])


def _reference(kind: ExternalReferenceType, place: str) -> list[ExternalReference]:
    return [ExternalReference(type=kind, url=XsUri(place))] if _URL.fullmatch(place) else []


def _datasets(job: TrainingJob | None) -> list[Component]:
    return [] if job is None else [_dataset(ref) for ref in job.spec.dataset_refs]


def _dataset(ref: DatasetRef) -> Component:
    return Component(
        type=ComponentType.DATA,
        bom_ref=_dataset_ref(ref),
        name=ref.name,
        version=ref.version,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=ref.sha256)],
        external_references=_reference(ExternalReferenceType.DISTRIBUTION, ref.uri),
        properties=[_property("dataset:uri", ref.uri)],
    )


def _dataset_ref(ref: DatasetRef) -> str:
    return f"dataset:{ref.name}"


def _environment(record: _TrainingRecord | None) -> list[Component]:
    if record is None or record.environment is None:
        return []
    lock = record.environment
    interpreter = Component(type=ComponentType.PLATFORM, bom_ref="interpreter", name=lock.implementation, version=lock.interpreter)
    return [interpreter, *map(_package, lock.packages)]


def _package(pinned: str) -> Component:
    name, _, version = pinned.partition("==")
    if not (name and version):
        raise EvidenceBroken("training.json", "its environment lists a package without a name or a version.")
    purl = PackageURL("pypi", None, name, version)
    return Component(type=ComponentType.LIBRARY, bom_ref=purl.to_string(), name=name, version=version, purl=purl)


def _model_card(artifact: Artifact, job: TrainingJob | None, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    newest = {one.kind: one for one in sorted(evaluations, key=lambda one: one.spec is not None)}
    measured, claimed = newest.get(EvaluationKind.MEASURED), newest.get(EvaluationKind.CLAIMED)
    card = {
        "modelParameters": _parameters(artifact.metadata, job),
        "quantitativeAnalysis": {"performanceMetrics": _metrics(measured.metrics)} if measured else {},
        "considerations": _considerations(artifact.metadata),
        "properties": [*(_measured_by(measured) if measured else ()), *(_claimed(claimed) if claimed else ())],
    }
    return {name: value for name, value in card.items() if value}


def _measured_by(evaluation: Evaluation) -> Iterable[dict[str, str]]:
    if evaluation.spec is not None:
        yield {"name": "aiinfra:measured-by", "value": f"{evaluation.spec['entryPoint']} of {evaluation.spec['codeRef']}"}
        for ref in evaluation.spec["datasetRefs"]:
            yield {"name": f"aiinfra:measured-on:{ref['name']}", "value": ref["sha256"]}


def _claimed(evaluation: Evaluation) -> Iterable[dict[str, str]]:
    for name, value in sorted(evaluation.metrics.items()):
        yield {"name": f"aiinfra:claimed:{name}", "value": _text(value)}


def _parameters(metadata: Mapping[str, Any], job: TrainingJob | None) -> dict[str, Any]:
    approach = metadata.get("approach")
    refs = [{"ref": _dataset_ref(ref)} for ref in job.spec.dataset_refs] if job else []
    return {
        **({"approach": {"type": approach}} if approach in APPROACHES else {}),
        **{name: metadata[name] for name in _MODEL_TEXTS if isinstance(metadata.get(name), str)},
        **({"datasets": refs} if refs else {}),
    }


def _considerations(metadata: Mapping[str, Any]) -> dict[str, list[str]]:
    given = metadata.get("considerations")
    if not isinstance(given, dict):
        return {}
    texts = {name: [it for it in given[name] if isinstance(it, str)] for name in _CONSIDERATIONS if isinstance(given.get(name), list)}
    return {name: listed for name, listed in texts.items() if listed}


def _metrics(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"type": name, "value": _text(value)} for name, value in sorted(metrics.items())]


def _text(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str) else canonical_json.dumps(value).decode()


def _describe_data(components: Iterable[dict[str, Any]], job: TrainingJob | None) -> None:
    places = {ref.name: ref.uri for ref in job.spec.dataset_refs} if job else {}
    for one in components:
        if one["type"] == "data":
            place = places[one["name"]]
            contents = {"contents": {"url": place}} if _URL.fullmatch(place) else {}
            one["data"] = [{"type": "dataset", "name": one["name"], **contents}]


def _properties(facts: Mapping[str, str | None]) -> list[Property]:
    return [_property(name, value) for name, value in facts.items() if value is not None]


def _property(name: str, value: str | None) -> Property:
    return Property(name=f"aiinfra:{name}", value=value)
