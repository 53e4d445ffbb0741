"""`import`: what a service that this one replaces has recorded, copied and signed as imported."""

from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, counting, say, say_json, say_next, say_table
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import RequestedBy, person
from aiinfra_core.importing.copying import MOST_TOLD, Summary, copy
from aiinfra_core.importing.go_service import service_at

_MOST_SHOWN = 20


def import_(
    *,
    from_go_service: Annotated[str, Parameter(help="Its address, such as https://ai-infra.example:8061.")],
    token: Annotated[
        str | None, Parameter(env_var="AI_INFRA_IMPORT_TOKEN", show_env_var=True, help="Sent along, if reading there needs one.")
    ] = None,
    model: Annotated[str | None, Parameter(help="Make every artifact a version of this model, whatever it says.")] = None,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False, help="Only read, and say what would become of each.")] = False,
    strict: Annotated[
        bool, Parameter(negative=(), show_default=False, help="End with exit code 3 if an artifact could not be registered.")
    ] = False,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Copy what another service has recorded."""
    service, imported_by, settings = service_at(from_go_service, token), person(requested_by), running_parts()
    with counting(f"Importing from {service.url}") as progress:
        summary = copy(settings, service, imported_by=imported_by, model=model, dry_run=dry_run, on_progress=progress)
    if as_json:
        say_json(_as_json(summary))
    else:
        _say(summary)
    return ExitCode.REFUSED if strict and summary.not_registered else ExitCode.OK


def _say(summary: Summary) -> None:
    rows = [(kind, outcome, number) for (kind, outcome), number in sorted(summary.counts.items())]
    if rows:
        say_table(("RECORD", "BECAME", "HOW MANY"), rows)
    if summary.earlier:
        say(f"{summary.earlier} records were here from before.")
    if summary.problems:
        say("Not registered, the first of them:" if summary.not_registered > _MOST_SHOWN else "Not registered:")
        say_table(("  ID THERE", "WHY"), [(f"  {one.original_id}", one.outcome) for one in summary.problems[:_MOST_SHOWN]])
    if summary.dry_run:
        say("Nothing was kept.")
        return say_next("the same without --dry-run")
    return say_next("aiinfra models list")


def _as_json(summary: Summary) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    for (kind, outcome), number in sorted(summary.counts.items()):
        counts.setdefault(kind, {})[outcome] = number
    return {
        "source": summary.source,
        "dryRun": summary.dry_run,
        "counts": counts,
        "fromBefore": summary.earlier,
        "notRegistered": summary.not_registered,
        "problems": [{"originalId": one.original_id, "outcome": one.outcome} for one in summary.problems],
        "moreProblems": max(0, summary.not_registered - MOST_TOLD),
    }
