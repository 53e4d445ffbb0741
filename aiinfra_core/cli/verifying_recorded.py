"""`verify` without a directory: what a registry has recorded, each check in a line, and what is wrong named."""

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import counting, say, say_json, say_table, working
from aiinfra_core.cli.registry import registry_at
from aiinfra_core.errors import BadInput


def verify_recorded(artifact: str | None, server: str | None, as_json: bool) -> ExitCode:
    """Check what is recorded about an artifact, or the whole history.

    Raises:
        BadInput: the whole history is asked for at a service.
    """
    if artifact is None and server:
        raise BadInput("The whole history is verified where its database is; at a service, name an artifact: aiinfra verify MODEL")
    sound = _whole_history(as_json) if artifact is None else _one(artifact, server, as_json)
    return ExitCode.OK if sound else ExitCode.EVIDENCE_BROKEN


def _one(reference: str, server: str | None, as_json: bool) -> bool:
    with registry_at(server) as registry, working(f"Verifying {reference}"):
        report = registry.verify(reference)
    artifact = report.artifact
    if as_json:
        say_json({"verified": report.verified, "artifact": artifact, "steps": report.checks})
        return report.verified
    say_table(("CHECK", "", "FOUND"), [(one.name, "ok" if one.passed else "BROKEN", one.detail) for one in report.checks])
    say(f"{artifact.model}:{artifact.version} {'verifies' if report.verified else 'does not verify'}.")
    return report.verified


def _whole_history(as_json: bool) -> bool:
    # Imported late: what a service checked needs nothing of it.
    from aiinfra_core.audit_log.checking.check import Way
    from aiinfra_core.cli.audit_verifying import say_history, shown
    from aiinfra_core.cli.parts import running_parts
    from aiinfra_core.verifying import verify_history

    settings = running_parts()
    with counting("Verifying the whole history") as progress:
        history = verify_history(settings, Way(progress=progress))
    if as_json:
        say_json(shown(history))
    else:
        say_history(history)
    return not history.broken
