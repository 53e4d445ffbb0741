"""`verify`: an export directory alone, or what this installation has recorded. Which of both is told by what was typed."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson
from aiinfra_core.cli.registry import Server
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import bundle


def verify(
    what: Annotated[
        str | None, Parameter(help="An export directory; or MODEL, MODEL:VERSION, MODEL@ENVIRONMENT or an artifact's id.")
    ] = None,
    /,
    *,
    trust_root: Annotated[Path | None, Parameter(help="For a directory: the N.root.json you got by a way you trust.")] = None,
    last_checkpoint: Annotated[Path | None, Parameter(help="The checkpoint you kept last time; the log must continue it.")] = None,
    last_targets: Annotated[Path | None, Parameter(help="The targets.json you kept last time; the trust must not be older.")] = None,
    trust: Annotated[Path | None, Parameter(help="A newer trust directory than the export's own, such as the published one.")] = None,
    current: Annotated[bool, Parameter(negative=(), show_default=False, help="Ask also whether it is current now.")] = False,
    max_age: Annotated[
        str | None, Parameter(help="With --current: how old the export may be, such as 90m, 24h (the default) or 7d.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Check an export directory alone; or what is recorded here about an artifact, or the whole history."""
    is_export = what is not None and bundle.is_export(Path(what))
    offline = {
        "--last-checkpoint": last_checkpoint,
        "--last-targets": last_targets,
        "--trust": trust,
        "--current": current or None,
        "--max-age": max_age,
    }
    # Each way imports only its own: without a database a directory is verified without what one needs.
    if trust_root is not None or is_export:
        from aiinfra_core.cli.verifying_export import verify_export

        if what is None or trust_root is None:
            raise BadInput("An export is verified with both: aiinfra verify DIR --trust-root N.root.json")
        return verify_export(Path(what), trust_root, last_checkpoint, last_targets, trust, current, max_age, as_json)
    if given := [name for name, value in offline.items() if value is not None]:
        raise BadInput(f"{given[0]} is for an export directory: aiinfra verify DIR --trust-root N.root.json")
    from aiinfra_core.cli.verifying_recorded import verify_recorded

    return verify_recorded(what, server, as_json)
