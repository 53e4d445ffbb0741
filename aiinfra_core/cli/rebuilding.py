"""`audit rebuild`: a lost database made again from the archive of its log."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core import rebuilding
from aiinfra_core.cli.output import AsJson, say, say_json, say_next, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.errors import BadInput

_TELL_EVERY = 50_000


def rebuild(
    *,
    source: Annotated[str, Parameter(name="--from", help="The archive: s3://bucket/prefix or file:///directory.")],
    checkpoint: Annotated[Path | None, Parameter(help="A checkpoint that somebody kept; the rebuilt log has to agree with it.")] = None,
    without_checkpoints: Annotated[
        bool, Parameter(negative=(), help="Rebuild though no checkpoint was ever published: nothing shows a cut tail then.")
    ] = False,
    skip_artifacts: Annotated[bool, Parameter(negative=(), help="Do not read the artifacts that the rows name.")] = False,
    with_compromised_keys: Annotated[
        bool, Parameter(negative=(), help="Bring back, too, what a key signed after it was compromised; audit verify names it as before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an empty database again from an archive, verifying as it goes."""
    if not source.startswith(("file:///", "s3://")):
        raise BadInput("--from must be file:///directory or s3://bucket/prefix.")
    settings = running_parts()
    with working(f"Rebuilding from {source}") as tell:
        done = rebuilding.rebuild(
            settings,
            source,
            seen=None if checkpoint is None else _kept(checkpoint),
            any_checkpoint=not without_checkpoints,
            read_artifacts=not skip_artifacts,
            compromised_keys=with_compromised_keys,
            on_progress=lambda events: tell(f"{events} events") if events % _TELL_EVERY < rebuilding.BATCH else None,
        )
    if as_json:
        return say_json(
            {
                "events": done.head.seq,
                "head": done.head.hash,
                "checkpoints": done.checkpoints,
                "artifacts": done.artifacts,
                "artifactsNotRead": done.artifacts_not_read,
            }
        )
    skipped = f", {done.artifacts_not_read} artifacts not read" if done.artifacts_not_read else ""
    say(f"Rebuilt: {done.head.seq} events, {done.checkpoints} checkpoints agree, {done.artifacts} artifacts verified{skipped}.")
    say(f"Head: {done.head.hash}")
    return say_next("aiinfra audit verify")


def _kept(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
