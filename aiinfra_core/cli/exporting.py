"""`export`: everything an auditor needs about a model, in one new directory."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, RequestedBy, person, reference
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.exporting.export import Exported
from aiinfra_core.exporting.export import export as write_export


def export(
    artifact: Reference,
    /,
    *,
    out: Annotated[Path, Parameter(help="The new directory.")],
    since: Annotated[Path | None, Parameter(help="A checkpoint an auditor kept: a proof that the log continues it is put in.")] = None,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Write an export."""
    settings = running_parts()
    with working(f"Exporting {artifact}") as tell:
        written = write_export(
            settings,
            reference(settings, artifact),
            out,
            exported_by=person(requested_by),
            since=None if since is None else _read(since),
            on_progress=tell,
        )
    if as_json:
        return say_json(_as_json(written))
    say(f"{out} holds the whole story of {written.artifact.model}:{written.artifact.version}; it verifies.")
    current = f"{written.environment}, sequence {written.sequence}" if written.environment else None
    say_fields(
        {"checksum": written.artifact.checksum, "current in": current, "log": f"{written.head.size} entries of {written.head.origin}"}
    )
    say("An auditor needs this directory and, by another way, the pinned root of trust.")
    return say_next(f"aiinfra verify {out} --trust-root {settings.trust_root}")


def _as_json(written: Exported) -> dict[str, object]:
    return {
        "directory": str(written.folder),
        "artifact": written.artifact,
        "environment": written.environment,
        "sequence": written.sequence,
        "head": {"origin": written.head.origin, "size": written.head.size, "root": written.head.root.hex()},
        "exportedAt": timestamp(written.exported_at),
    }


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bundle.MAX_CHECKPOINT_BYTES)
    except OSError as error:
        raise BadInput(f"The checkpoint {path} cannot be read: {error.strerror}.") from None
