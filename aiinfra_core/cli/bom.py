"""`bom`: the bill of materials, to standard output or a file."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.cli.output import note, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, reference
from aiinfra_core.describing import bill_of_model
from aiinfra_core.errors import BadInput, Conflict


def bom(
    artifact: Reference,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Write it to this new file instead of standard output.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False, help="It is JSON in any case.")] = False,  # noqa: ARG001
) -> None:
    """Print a model's bill of materials."""
    settings = running_parts()
    with working(f"Describing {artifact}"):
        described, bill = bill_of_model(settings, reference(settings, artifact))
    if out is None:
        sys.stdout.write(bill.decode())
    else:
        _write(out, bill)
        note(f"{out} describes {described.model}:{described.version}")


def _write(out: Path, bill: bytes) -> None:
    try:
        with out.open("xb") as file:
            file.write(bill)
    except FileExistsError:
        raise Conflict(f"{out} exists already; name a file that does not.") from None
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}.") from error
