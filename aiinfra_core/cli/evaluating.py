"""`evaluate`: a script is run that measures a version or, without one, what its own training measured is kept; signed either way.

A service runs no evaluations; what the training measured it keeps by itself, when a promotion is judged on it.
"""

from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core import database, evaluating
from aiinfra_core.cli.evaluation_typed import NOTHING, EvaluationOptions
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, say_table, score, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, RequestedBy, person, reference
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.evaluation import EvaluationSpec, difference, source_in_words
from aiinfra_core.errors import BadInput
from aiinfra_core.registry import artifacts
from aiinfra_core.settings import Settings, environment_named


def evaluate(
    artifact: Reference,
    /,
    options: EvaluationOptions = NOTHING,
    *,
    against: Annotated[
        str | None, Parameter(metavar="ENVIRONMENT", help="Measure what is current there by the same spec too, and compare.")
    ] = None,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Run an evaluation or, without one, record what the artifact's training measured."""
    settings, spec, by = running_parts(), options.asked(), person(requested_by)
    environment = None if against is None else environment_named(settings, against)
    if environment is not None and spec is None:
        raise BadInput("--against compares what a script measures; say which one with --code, --entry-point and --dataset.")
    found = _found(settings, reference(settings, artifact))
    evaluation = (
        _measured_by_training(settings, found) if spec is None else _run(settings, found.id, f"{found.model}:{found.version}", spec, by)
    )
    champion = None if environment is None or spec is None else _champion(settings, environment, found.model, spec, by)
    if as_json:
        return say_json(evaluation if environment is None else _compared(evaluation, champion))
    say(f"{found.model}:{found.version} has a signed evaluation, {source_in_words(evaluation.kind, evaluation.spec)}")
    say_fields({"score": score(evaluation.metrics), "spec": evaluation.spec_digest, "digest": evaluation.digest})
    if environment is not None:
        _say_compared(settings, found, evaluation, champion, environment)
    return say_next(f"aiinfra promote {found.model}:{found.version} --to {environment or settings.environments[0]}")


def _found(settings: Settings, named: str) -> Artifact:
    with database.transaction(settings) as tx:
        return artifacts.find(tx, named)


def _measured_by_training(settings: Settings, found: Artifact) -> Evaluation:
    evaluation = evaluating.record_measured(settings, found.id)
    if evaluation is None:
        raise BadInput(
            f"The training of {found.model}:{found.version} measured nothing; let it write metrics, "
            "run a script that measures with --code, or claim some with promote."
        )
    return evaluation


def _run(settings: Settings, artifact_id: UUID, name: str, spec: EvaluationSpec, by: str) -> Evaluation:
    note(f"Measuring {name} with {spec.entry_point} from {spec.code_ref}")
    with working(f"Measuring {name}") as tell:
        return evaluating.evaluate(settings, artifact_id, spec, recorded_by=by, on_output=tell)


def _champion(settings: Settings, environment: str, model: str, spec: EvaluationSpec, by: str) -> Evaluation | None:
    with working(f"Measuring what is current in {environment}") as tell:
        return evaluating.evaluate_champion(settings, environment, model, spec, recorded_by=by, on_output=tell)


def _compared(evaluation: Evaluation, champion: Evaluation | None) -> dict[str, Any]:
    return {"evaluation": evaluation, "champion": champion, "difference": champion and difference(evaluation, champion)}


def _say_compared(settings: Settings, found: Artifact, evaluation: Evaluation, champion: Evaluation | None, environment: str) -> None:
    if champion is None:
        return say(f"Nothing is current in {environment}: there is nothing to compare with.")
    current = _found(settings, str(champion.artifact_id))
    rows = [
        (name, f"{evaluation.metrics[name]:.6g}", f"{champion.metrics[name]:.6g}", f"{by:+.6g}")
        for name, by in difference(evaluation, champion).items()
    ]
    return say_table(
        ("METRIC", f"{found.model}:{found.version}", f"{current.model}:{current.version} in {environment}", "DIFFERENCE"), rows
    )
