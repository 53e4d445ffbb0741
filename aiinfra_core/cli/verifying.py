"""`verify`: each check in a line, and what is wrong named."""

from aiinfra_core.audit_log.check import History
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_json, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, reference
from aiinfra_core.settings import Settings
from aiinfra_core.verifying import verify_history, verify_model


def verify(artifact: Reference | None = None, /, *, as_json: AsJson = False) -> ExitCode:
    """Check what is recorded about an artifact, or the whole history."""
    settings = running_parts()
    sound = _whole_history(settings, as_json) if artifact is None else _one(settings, artifact, as_json)
    return ExitCode.OK if sound else ExitCode.EVIDENCE_BROKEN


def _one(settings: Settings, text: str, as_json: bool) -> bool:
    with working(f"Verifying {text}"):
        artifact, steps = verify_model(settings, reference(settings, text))
    sound = all(step.passed for step in steps)
    if as_json:
        shown = [{"name": step.name, "passed": step.passed, "detail": step.detail} for step in steps]
        say_json({"verified": sound, "artifact": artifact, "steps": shown})
        return sound
    say_table(("CHECK", "", "FOUND"), [(step.name, "ok" if step.passed else "BROKEN", step.detail) for step in steps])
    say(f"{artifact.model}:{artifact.version} {'verifies' if sound else 'does not verify'}.")
    return sound


def _whole_history(settings: Settings, as_json: bool) -> bool:
    with working("Verifying the whole history"):
        history = verify_history(settings)
    sound = not history.findings
    if as_json:
        findings = [{"place": finding.place, "problem": finding.problem} for finding in history.findings]
        say_json({"verified": sound, "events": history.events, "waiting": history.waiting, "findings": findings})
    else:
        _say_history(history)
    return sound


def _say_history(history: History) -> None:
    waiting = f", {history.waiting} more wait to be chained" if history.waiting else ""
    if history.findings:
        say_table(("PLACE", "PROBLEM"), [(finding.place, finding.problem) for finding in history.findings])
        return say(f"The history does not verify: {len(history.findings)} findings in {history.events} events{waiting}.")
    return say(f"The history verifies: {history.events} events chained and signed, every row matches its last event{waiting}.")
