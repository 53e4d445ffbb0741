"""Where an artifact comes from and what became of it, as nodes and edges; all of it is read in one statement.

What is signed about it, and whether that holds, lives in `reading` and `verifying`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, literal, literal_column, select

from aiinfra_core.domain.artifact import EvaluationKind
from aiinfra_core.domain.evaluation import source_in_words
from aiinfra_core.registry import as_sent
from aiinfra_core.registry.artifacts import FOUND_BY, find_row
from aiinfra_core.tables import artifact_tombstones, evaluations, imports, model_artifacts, model_promotions, training_jobs
from aiinfra_core.work_tables import job_leases

MOST_SHOWN = 200
_LIMIT = literal(MOST_SHOWN + 1, literal_execute=True)
_BESIDE, _ITS_ARTIFACT = model_promotions.alias("beside"), model_artifacts.alias("its_artifact")


def _object(**values: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.json_build_object(*(part for name, value in values.items() for part in (literal_column(f"'{name}'"), value)))


def _neighbour(step: str) -> ColumnElement[Any]:
    """Return the promotion applied just before (`- 1`) or after (`+ 1`) in the same place, and its artifact."""
    return (
        select(
            _object(
                id=_BESIDE.c.id,
                sequence=_BESIDE.c.sequence_seen + literal_column("1"),
                requestedBy=_BESIDE.c.requested_by,
                artifact=_ITS_ARTIFACT.c.id,
                version=_ITS_ARTIFACT.c.version,
                checksum=_ITS_ARTIFACT.c.checksum,
            )
        )
        .join(_ITS_ARTIFACT, _ITS_ARTIFACT.c.id == _BESIDE.c.artifact_id)
        .where(
            _BESIDE.c.environment == model_promotions.c.environment,
            _BESIDE.c.model == model_promotions.c.model,
            _BESIDE.c.sequence_seen == model_promotions.c.sequence_seen + literal_column(step),
            _BESIDE.c.applied_at.is_not(None),
            model_promotions.c.applied_at.is_not(None),
        )
        .correlate(model_promotions)
        .scalar_subquery()
    )


_JOB = (
    select(as_sent.job(job_leases.c.flow_run_id))
    .outerjoin(job_leases, job_leases.c.job_id == training_jobs.c.id)
    .where(training_jobs.c.id == model_artifacts.c.training_job_id)
    .scalar_subquery()
)
_EVALUATIONS = as_sent.every(
    select(as_sent.evaluation())
    .where(evaluations.c.artifact_id == model_artifacts.c.id)
    .order_by(evaluations.c.created_at.desc(), evaluations.c.id.desc())
    .limit(_LIMIT)
    .correlate(model_artifacts)
)
_PROMOTIONS = as_sent.every(
    select(
        _object(
            promotion=as_sent.promotion(),
            judgedOn=model_promotions.c.evaluation_digest,
            before=_neighbour("-1"),
            after=_neighbour("1"),
        )
    )
    .where(model_promotions.c.artifact_id == model_artifacts.c.id)
    .order_by(model_promotions.c.created_at.desc(), model_promotions.c.id.desc())
    .limit(_LIMIT)
    .correlate(model_artifacts)
)
_IMPORTS = as_sent.every(
    select(
        _object(id=imports.c.id, source=imports.c.source, kind=imports.c.kind, originalId=imports.c.original_id, outcome=imports.c.outcome)
    )
    .where(imports.c.artifact_id == model_artifacts.c.id)
    .limit(_LIMIT)
    .correlate(model_artifacts)
)
_TOMBSTONE = (
    select(_object(reason=artifact_tombstones.c.reason, prunedBy=artifact_tombstones.c.pruned_by))
    .where(artifact_tombstones.c.artifact_id == model_artifacts.c.id)
    .scalar_subquery()
)
_STORY = _object(
    artifact=as_sent.artifact(),
    job=_JOB,
    evaluations=_EVALUATIONS,
    promotions=_PROMOTIONS,
    imports=_IMPORTS,
    tombstone=_TOMBSTONE,
)
STORIES = {by: query.with_only_columns(cast(_STORY, Text).label("document")) for by, query in FOUND_BY.items()}


@dataclass
class _Graph:
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)

    def node(self, kind: str, key: str, label: str, about: Mapping[str, Any]) -> str:
        name = f"{kind}:{key}"
        self.nodes.setdefault(name, {"id": name, "kind": kind, "label": label, "about": about})
        return name

    def edge(self, source: str, kind: str, target: str) -> None:
        self.edges[source, kind, target] = {"source": source, "kind": kind, "target": target}


def lineage(tx: Connection, reference: str) -> dict[str, Any]:
    """Return the lineage of an artifact as the JSON value of `SentLineage`; the reference is as for `artifacts.find`.

    Raises:
        NotFound: nothing is registered under that name.
    """
    story = json.loads(find_row(tx, reference, STORIES)["document"])
    artifact, graph = story["artifact"], _Graph()
    this = graph.node("artifact", artifact["id"], f"{artifact['model']}:{artifact['version']}", artifact)
    datasets = _add_job(graph, this, story["job"]) if story["job"] else []
    scored = {one["digest"]: _add_evaluation(graph, this, one, datasets) for one in story["evaluations"][:MOST_SHOWN]}
    for one in story["promotions"][:MOST_SHOWN]:
        _add_promotion(graph, this, one, scored)
    for one in story["imports"][:MOST_SHOWN]:
        graph.edge(graph.node("import", one["id"], f"{one['kind']} {one['originalId']} of {one['source']}", one), "tells_of", this)
    if story["tombstone"]:
        graph.edge(graph.node("tombstone", artifact["id"], "the bytes were removed", story["tombstone"]), "ended", this)
    truncated = any(len(story[many]) > MOST_SHOWN for many in ("evaluations", "promotions", "imports"))
    return {"artifact": artifact, "nodes": list(graph.nodes.values()), "edges": list(graph.edges.values()), "truncated": truncated}


def _add_job(graph: _Graph, artifact: str, job: Mapping[str, Any]) -> list[str]:
    """Add the job that made an artifact and what went into it; return its datasets."""
    made = graph.node("job", job["id"], f"training of {job['model']}", job)
    graph.edge(artifact, "made_by", made)
    container = job["containerDigest"]
    graph.edge(made, "ran", _code(graph, job))
    graph.edge(made, "ran_in", graph.node("container", container, container[:19], {"digest": container, "declared": True}))
    datasets = _datasets(graph, job)
    for dataset in datasets:
        graph.edge(made, "learned_from", dataset)
    return datasets


def _code(graph: _Graph, ran: Mapping[str, Any]) -> str:
    repository, _, commit = ran["codeRef"].rpartition("@")
    about = {"codeRef": ran["codeRef"], "repository": repository, "commit": commit, "entryPoint": ran["entryPoint"]}
    return graph.node("code", ran["codeRef"], f"{repository.rpartition('/')[2]}@{commit[:12]}", about)


def _datasets(graph: _Graph, ran: Mapping[str, Any]) -> list[str]:
    return [graph.node("dataset", ref["sha256"], ref["name"], ref) for ref in ran["datasetRefs"]]


def _add_evaluation(graph: _Graph, artifact: str, evaluation: Mapping[str, Any], datasets: Iterable[str]) -> str:
    """Add an evaluation; what was measured without a spec was measured by the training, on its datasets."""
    spec, measured = evaluation["spec"], evaluation["kind"] == EvaluationKind.MEASURED
    this = graph.node("evaluation", evaluation["id"], source_in_words(evaluation["kind"], spec), evaluation)
    graph.edge(this, "evaluates", artifact)
    if spec:
        graph.edge(this, "ran", _code(graph, spec))
    for dataset in _datasets(graph, spec) if spec else datasets if measured else ():
        graph.edge(this, "measured_on", dataset)
    return this


def _add_promotion(graph: _Graph, artifact: str, told: Mapping[str, Any], scored: Mapping[str, str]) -> None:
    promotion = told["promotion"]
    place = f"{promotion['model']} in {promotion['environment']}"
    this = graph.node("promotion", promotion["id"], f"{place}: {promotion['status']}", promotion)
    graph.edge(this, "promotes", artifact)
    if told["judgedOn"] in scored:
        graph.edge(this, "judged_on", scored[told["judgedOn"]])
    for side in ("before", "after"):
        if beside := told[side]:
            about = {name: beside[name] for name in ("id", "sequence", "requestedBy")}
            other = graph.node("promotion", beside["id"], f"{place}: sequence {beside['sequence']}", about)
            kept = {name: beside[name] for name in ("version", "checksum")}
            its = graph.node("artifact", beside["artifact"], f"{promotion['model']}:{beside['version']}", kept)
            graph.edge(other, "promotes", its)
            graph.edge(*((this, "follows", other) if side == "before" else (other, "follows", this)))
            if its != artifact:
                graph.edge(*((artifact, "replaced", its) if side == "before" else (its, "replaced", artifact)))
