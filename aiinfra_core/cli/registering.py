"""`register`: what a job made, a path, or bytes in the store, as the next version of a model."""

from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next
from aiinfra_core.cli.registry import Registration, Server, registry_at
from aiinfra_core.cli.typed import Pairs, RequestId, values
from aiinfra_core.domain.scan import HARMLESS, IN_WORDS, Verdict
from aiinfra_core.errors import BadInput
from aiinfra_core.wire.records import SentArtifact
from aiinfra_core.wire.scans import SentScan

_WAYS = "Name a training job, or --model with a path, or --model with --uri and --checksum."
_MOST_FINDINGS = 3


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
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Register the next version of a model."""
    job = _job_id(source)
    _refuse_unclear(source, job, model, uri, checksum)
    wanted = Registration(
        job=job,
        path=None if job else source,
        model=model,
        uri=uri,
        checksum=checksum,
        metadata=values("--metadata", metadata) or None,
        registered_by=registered_by,
        request_id=request_id,
    )
    with registry_at(server) as registry:
        artifact = registry.register(wanted)
        scan = registry.scan(artifact)
        by_default = registry.judges_by_default()
    if as_json:
        say_json(artifact)
    else:
        _say(artifact, scan)
    if scan and scan.verdict not in HARMLESS:
        note(f"Warning: {artifact.model}:{artifact.version} is {scan.verdict}: {IN_WORDS[Verdict(scan.verdict)]}. {_reasons(scan)}")
    if not as_json:
        say_next(_after(artifact, here=not server, by_default=by_default))


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


def _say(artifact: SentArtifact, scan: SentScan | None) -> None:
    say(f"{artifact.model}:{artifact.version} is registered")
    say_fields(
        {
            "artifact": artifact.id,
            "checksum": f"{artifact.digest_kind} {artifact.checksum}",
            "bytes": f"{artifact.size_bytes} at {artifact.artifact_uri}",
            "signer": artifact.signer_id,
            "scan": scan.verdict if scan else "not scanned",
        }
    )


def _reasons(scan: SentScan) -> str:
    worst = [one for one in scan.findings if one.verdict == scan.verdict]
    return "; ".join(f"{one.file or 'the file'}: {one.detail or one.format}" for one in worst[:_MOST_FINDINGS])


# A service takes no evaluate and explains no policy; what it trained, it is asked to promote on what was measured.
def _after(artifact: SentArtifact, *, here: bool, by_default: bool) -> str:
    name = f"{artifact.model}:{artifact.version}"
    if here and artifact.training_job_id:
        return f"aiinfra evaluate {name}"
    if here and not by_default:
        return f"aiinfra policy explain {name} --to staging"
    return f"aiinfra promote {name} --to staging{' --metric quality=SCORE' if by_default else ''}"
