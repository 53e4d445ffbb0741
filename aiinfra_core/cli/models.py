"""`models list` and `models show`."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter
from sqlalchemy import Connection

from aiinfra_core import database
from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, say_table, score
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, reference
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.promotion import Pointer, Promotion
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.errors import BadInput
from aiinfra_core.registry import artifacts, evaluations, jobs, promotions

models = App(name="models")

_MOST = 500


@models.command(name="list", help_epilogue=examples("aiinfra models list", "aiinfra models list rain --limit 10 --json"))
def list_versions(
    model: Annotated[str | None, Parameter(help="Only this model.")] = None,
    /,
    *,
    limit: Annotated[int, Parameter(help=f"How many, at most {_MOST}.")] = 50,
    after: Annotated[UUID | None, Parameter(help="The id of the last artifact seen; those registered before it follow.")] = None,
    as_json: AsJson = False,
) -> None:
    """List registered versions, newest first, and where each is current."""
    if not 1 <= limit <= _MOST:
        raise BadInput(f"--limit must be between 1 and {_MOST}.")
    with database.snapshot(running_parts()) as tx:
        seen = artifacts.get(tx, after) if after else None
        found = artifacts.newest(tx, model=model, limit=limit, after=(seen.created_at, seen.id) if seen else None)
        pointers = promotions.pointers(tx)
    if as_json:
        return say_json([{**_plain(artifact), "currentIn": _environments(artifact, pointers)} for artifact in found])
    return _say_versions(found, pointers, limit)


@models.command(help_epilogue=examples("aiinfra models show rain", "aiinfra models show rain@prod --json"))
def show(artifact: Reference, /, *, as_json: AsJson = False) -> None:
    """Show a version: its bytes, where they came from, how they scored, who promoted it and where it is current."""
    settings = running_parts()
    with database.snapshot(settings) as tx:
        found = artifacts.find(tx, reference(settings, artifact))
        known = _known(tx, found)
    if as_json:
        return say_json({"artifact": found, **known})
    _say_artifact(found, known["job"])
    _say_evaluations(known["evaluations"])
    _say_promotions(known["promotions"])
    current = ", ".join(f"{place.environment} (sequence {place.sequence})" for place in known["currentIn"])
    say(f"Current in: {current or 'no environment'}")
    return say_next(f"aiinfra verify {found.model}:{found.version}")


def _known(tx: Connection, artifact: Artifact) -> dict[str, Any]:
    return {
        "job": jobs.get(tx, artifact.training_job_id) if artifact.training_job_id else None,
        "evaluations": evaluations.of_artifact(tx, artifact.id),
        "promotions": promotions.of_artifact(tx, artifact.id),
        "currentIn": [place for place in promotions.pointers(tx) if place.artifact_id == artifact.id],
    }


def _plain(artifact: Artifact) -> dict[str, Any]:
    return artifact.model_dump(mode="json", by_alias=True)


def _environments(artifact: Artifact, pointers: Sequence[Pointer]) -> list[str]:
    return [place.environment for place in pointers if place.artifact_id == artifact.id]


def _say_versions(found: Sequence[Artifact], pointers: Sequence[Pointer], limit: int) -> None:
    if not found:
        say("Nothing is registered here.")
        return say_next("aiinfra train --help")
    rows = [
        (
            f"{one.model}:{one.version}",
            ", ".join(_environments(one, pointers)),
            one.checksum[:16],
            f"{one.created_at:%Y-%m-%d %H:%M}",
            one.id,
        )
        for one in found
    ]
    say_table(("VERSION", "CURRENT IN", "CHECKSUM", "REGISTERED", "ID"), rows)
    return say_next(f"aiinfra models list --after {found[-1].id}" if len(found) == limit else f"aiinfra models show {rows[0][0]}")


def _say_artifact(artifact: Artifact, job: TrainingJob | None) -> None:
    say(f"{artifact.model}:{artifact.version}")
    say_fields(
        {
            "id": artifact.id,
            "checksum": f"{artifact.digest_kind} {artifact.checksum}",
            "bytes": f"{artifact.size_bytes} at {artifact.artifact_uri}",
            "registered": f"{artifact.created_at:%Y-%m-%d %H:%M:%S} UTC by {artifact.registered_by}, signed by {artifact.signer_id}",
            "training": f"job {job.id}, {job.spec.code_ref}, seed {job.spec.seed}" if job else "elsewhere: without provenance",
        }
    )


def _say_evaluations(found: Sequence[Evaluation]) -> None:
    if found:
        say("Evaluations:")
        say_table(("  KIND", "METRICS", "BY"), [(f"  {one.kind}", score(one.metrics), one.recorded_by) for one in found])


def _say_promotions(found: Sequence[Promotion]) -> None:
    if found:
        say("Promotions, newest first:")
        rows = [(f"  {one.environment}", one.status, f"{one.created_at:%Y-%m-%d %H:%M}", one.requested_by, one.reason) for one in found]
        say_table(("  TO", "STATUS", "ASKED", "BY", "REASON"), rows)
