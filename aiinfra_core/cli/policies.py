"""`policy check` and `policy test`, which need a file and nothing else; `explain` and `simulate` are in `explaining`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, say_table
from aiinfra_core.policy import cases, files
from aiinfra_core.policy.cases import Tried
from aiinfra_core.rules.document import Policy
from aiinfra_core.settings import Settings

_File = Annotated[Path, Parameter(help="A policy's YAML file, or the name of one that is shipped: default, strict.")]
_ANY_OTHER = "any other"

policy = App(name="policy")
policy.command(
    "aiinfra_core.cli.explaining:explain",
    name="explain",
    help="""Show every rule with what it saw and what it says: about a promotion that was asked for, or with --to about one that could be.

    With --to nothing is recorded.""",
    help_epilogue=examples("aiinfra policy explain rain --to prod", "aiinfra policy explain 6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11"),
)
policy.command(
    "aiinfra_core.cli.explaining:simulate",
    name="simulate",
    help="Replay a policy over past promotions, each with what was known then, and show which decisions would change.",
    help_epilogue=examples(
        "aiinfra policy simulate --policy strict", "aiinfra policy simulate --policy new.yaml --environment prod --json"
    ),
)


@policy.command(help_epilogue=examples("aiinfra policy check strict", "aiinfra policy check policies/ours.yaml"))
def check(file: _File, /, *, as_json: AsJson = False) -> None:
    """Read a policy file strictly and show what it makes for each environment; what is wrong is named by line and field."""
    settings = Settings()
    written, _ = files.read(file)
    made = [
        (environment, model or _ANY_OTHER, files.named(settings, str(file), environment, model))
        for environment in settings.environments
        for model in (*sorted(written.models), "")
    ]
    if as_json:
        effective = [
            {"environment": environment, "model": None if model == _ANY_OTHER else model, **_effective(one)}
            for environment, model, one in made
        ]
        return say_json({"name": written.name, "version": written.version, "effective": effective, "tests": len(written.tests)})
    say_fields({"policy": f"{written.name} {written.version}", "says": written.description or None, "tests": len(written.tests)})
    rows = [(environment, model, len(one.rules), _approvals(one), one.digest()) for environment, model, one in made]
    say_table(("ENVIRONMENT", "MODEL", "RULES", "APPROVALS", "DIGEST"), rows)
    return say_next(f"aiinfra policy test {file}")


@policy.command(help_epilogue=examples("aiinfra policy test strict", "aiinfra policy test policies/ours.yaml --json"))
def test(file: _File, /, *, as_json: AsJson = False) -> ExitCode:
    """Try the cases that stand in a policy file; ends with exit code 3 if one of them is not decided as it says."""
    settings = Settings()
    tried = cases.tried(settings, *files.read(file))
    wrong = [one for one in tried if one.wrong]
    if as_json:
        say_json([_said(one) for one in tried])
    elif not tried:
        say("The file has no tests.")
    else:
        say_table(("CASE", "EXPECTED", "OUTCOME"), [(one.case.name, one.case.expect, one.wrong or "as expected") for one in tried])
        say(f"{len(tried) - len(wrong)} of {len(tried)} as expected.")
    return ExitCode.REFUSED if wrong else ExitCode.OK


def _effective(one: Policy) -> dict[str, Any]:
    return {
        "digest": one.digest(),
        "rules": [rule.id for rule in one.rules],
        "approvals": one.conditions.approvals,
        "rollbackApprovals": one.asks_for(rollback=True).approvals,
        "approverIsNot": list(one.conditions.approver_is_not),
        "requesterIsNot": list(one.requester_is_not),
        "parameters": one.parameters,
    }


def _approvals(one: Policy) -> str | None:
    return ", ".join(f"{role} {count}" for role, count in sorted(one.conditions.approvals.items())) or None


def _said(one: Tried) -> dict[str, Any]:
    said = {"rule": one.decision.rule_id, "reason": one.decision.reason}
    return {"name": one.case.name, "expect": one.case.expect, "allowed": one.decision.allowed, **said, "wrong": one.wrong}
