"""`audit verify`: the whole log, or what is new in it, with progress; each finding named."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.audit_log.checking.check import History, Way
from aiinfra_core.audit_log.delivering import webhook
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, counting, note, say, say_json, say_table
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.verifying import default_state, verify_history

_Flag = Parameter(negative=())


def verify(
    *,
    incremental: Annotated[
        bool, _Flag, Parameter(help="Check what is new since the last verified checkpoint, and the rows it tells of.")
    ] = False,
    restart: Annotated[bool, _Flag, Parameter(help="Forget what was verified before.")] = False,
    state: Annotated[Path | None, Parameter(help="Where what was verified is kept; without it, in the home folder.")] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Re-check the audit log."""
    settings = running_parts()
    with counting("Verifying the audit log") as progress:
        way = Way(state=state or default_state(settings), incremental=incremental, restart=restart, progress=progress)
        history = verify_history(settings, way)
    webhook.audit_failed(settings, history)
    for line in history.notes:
        note(line)
    if as_json:
        say_json(shown(history))
    else:
        say_history(history)
    return ExitCode.EVIDENCE_BROKEN if history.broken else ExitCode.OK


def shown(history: History) -> dict[str, object]:
    """Return a history under the wire's names."""
    findings = [{"place": finding.place, "problem": finding.problem} for finding in history.findings]
    return {
        "verified": not history.broken,
        "events": history.events,
        "since": history.since,
        "waiting": history.waiting,
        "checkpoints": history.checkpoints,
        "rows": history.rows,
        "broken": history.broken,
        "findings": findings,
        "notes": history.notes,
    }


def say_history(history: History) -> None:
    """Print a history for people."""
    waiting = f", {history.waiting} more wait to be chained" if history.waiting else ""
    since = f" (checked from {history.since} on)" if history.since > 1 else ""
    if history.findings:
        say_table(("PLACE", "PROBLEM"), [(finding.place, finding.problem) for finding in history.findings])
        count = f"{history.broken} findings" + (
            f", the first {len(history.findings)} above," if history.broken > len(history.findings) else ""
        )
        return say(f"The history does not verify: {count} in {history.events} events{since}{waiting}.")
    heads = f", {history.checkpoints} checkpoints lead to it" if history.checkpoints else ""
    return say(
        f"The history verifies: {history.events} events chained and signed, every row matches its last event{heads}{since}{waiting}."
    )
