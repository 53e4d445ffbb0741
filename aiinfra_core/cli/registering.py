"""`register` and `evaluate`: what a job made, a path, or bytes in the store, as the next version of a model; and its measured score."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core import artifact_store, checksums, database
from aiinfra_core.artifact_store import streams
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, score, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Pairs, Reference, RequestId, checked, person, reference, values
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.errors import BadInput
from aiinfra_core.evaluating import record_measured
from aiinfra_core.registering import register as run
from aiinfra_core.registering import registration_of
from aiinfra_core.registry import artifacts, jobs
from aiinfra_core.settings import Settings

_WAYS = "Name a training job, or --model with a path, or --model with --uri and --checksum."


def register(
    source: Annotated[str | None, Parameter(help="A training job's id, or a file or directory, put into the artifact store first.")] = None,
    /,
    *,
    model: Annotated[str | None, Parameter(help="The model's name; a job brings its own.")] = None,
    uri: Annotated[str | None, Parameter(help="Where the bytes are in the artifact store.")] = None,
    checksum: Annotated[str | None, Parameter(help="The hex SHA-256 these bytes must have.")] = None,
    metadata: Annotated[Pairs, Parameter(help="Something to keep with the version.")] = None,
    registered_by: Annotated[str | None, Parameter(help="Who registers; without it, the user who types, or who asked for the job.")] = None,
    request_id: RequestId = None,
    as_json: AsJson = False,
) -> None:
    """Register the next version of a model."""
    job = _job_id(source)
    more: dict[str, Any] = {"request_id": request_id} if request_id else {}
    more |= {"registered_by": registered_by} if registered_by else {}
    more |= {"metadata": values("--metadata", metadata)} if metadata else {}
    _refuse_unclear(source, job, model, uri, checksum)
    settings = running_parts()
    if job is not None:
        request = _of_job(settings, job, more)
    else:
        stored = (uri, checksum) if source is None else _stored(settings, Path(source))
        fields = {"model": model, "artifact_uri": stored[0], "checksum": stored[1]}
        request = checked(RegistrationRequest, **{"registered_by": person(registered_by)} | fields | more)
    with working(f"Registering {request.model}"):
        artifact = run(settings, request)
    return say_json(artifact) if as_json else _say(artifact)


def evaluate(artifact: Reference, /, *, as_json: AsJson = False) -> None:
    """Record what the artifact's training measured."""
    settings = running_parts()
    with database.transaction(settings) as tx:
        found = artifacts.find(tx, reference(settings, artifact))
    evaluation = record_measured(settings, found.id)
    if evaluation is None:
        raise BadInput(f"The training of {found.model}:{found.version} measured nothing; let it write metrics, or claim some with promote.")
    if as_json:
        return say_json(evaluation)
    say(f"{found.model}:{found.version} has a signed, {evaluation.kind} evaluation")
    say_fields({"score": score(evaluation.metrics), "digest": evaluation.digest})
    return say_next(f"aiinfra promote {found.model}:{found.version} --to {settings.environments[0]}")


def _job_id(source: str | None) -> UUID | None:
    try:
        return UUID(source or "")
    except ValueError:
        return None


def _refuse_unclear(source: str | None, job: UUID | None, model: str | None, uri: str | None, checksum: str | None) -> None:
    named = {"--model": model, "--uri": uri, "--checksum": checksum}
    given = {name for name, value in named.items() if value is not None}
    wanted = {"--model", "--uri", "--checksum"} if source is None else set() if job else {"--model"}
    if given != wanted:
        raise BadInput(_WAYS)


def _of_job(settings: Settings, job_id: UUID, more: dict[str, Any]) -> RegistrationRequest:
    with database.transaction(settings) as tx:
        job = jobs.get(tx, job_id)
    return checked(RegistrationRequest, **registration_of(job).model_dump() | more)


def _stored(settings: Settings, source: Path) -> tuple[str, str]:
    with working(f"Storing {source}"):
        stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{_digest(source)}")
    return stored.uri, stored.checksum


# The key is the digest, so that the same bytes are stored once, whatever they are called here.
def _digest(source: Path) -> str:
    if not streams.is_directory(source):
        return _digest_of_file(source)
    return checksums.directory_digest({name: _digest_of_file(source / name) for name in streams.files_below(source)})


def _digest_of_file(path: Path) -> str:
    with streams.of_source(path) as stream:
        return streams.pour(stream).checksum


def _say(artifact: Artifact) -> None:
    name = f"{artifact.model}:{artifact.version}"
    say(f"{name} is registered")
    say_fields(
        {
            "artifact": artifact.id,
            "checksum": f"{artifact.digest_kind} {artifact.checksum}",
            "bytes": f"{artifact.size_bytes} at {artifact.artifact_uri}",
            "signer": artifact.signer_id,
        }
    )
    say_next(f"aiinfra evaluate {name}" if artifact.training_job_id else f"aiinfra promote {name} --to staging --metric quality=SCORE")
