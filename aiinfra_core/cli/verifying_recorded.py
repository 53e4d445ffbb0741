"""`verify` without a directory: what this installation has recorded, each check in a line, and what is wrong named."""

from aiinfra_core.audit_log.checking.check import Way
from aiinfra_core.cli.audit_verifying import say_history, shown
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import counting, say, say_json, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import reference
from aiinfra_core.settings import Settings
from aiinfra_core.verifying import verify_history, verify_model


def verify_recorded(artifact: str | None, as_json: bool) -> ExitCode:
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
    with counting("Verifying the whole history") as progress:
        history = verify_history(settings, Way(progress=progress))
    if as_json:
        say_json(shown(history))
    else:
        say_history(history)
    return not history.broken
