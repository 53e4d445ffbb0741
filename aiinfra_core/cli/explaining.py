"""`policy explain` and `policy simulate`: every rule with what it saw, for one promotion; and one policy over those of the past."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core import canonical_json, database, deciding, simulating
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, counting, say, say_fields, say_json, say_next, say_table
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import RequestedBy, person, reference
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Decision, Promotion, Stage
from aiinfra_core.errors import BadInput
from aiinfra_core.policy import files, gate
from aiinfra_core.registry import artifacts, policy_decisions, promotions
from aiinfra_core.registry.past_promotions import Which
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.rules.document import Policy
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.simulating import Replayed, Simulation

_STAGES = {Stage.REQUEST: "when it was asked for", Stage.APPLY: "before it was applied"}
_MOST_SHOWN = 50
_MOST_VALUE = 160
Json = dict[str, Any]


def explain(
    what: Annotated[
        str, Parameter(name="what", help="A promotion's id; or with --to: MODEL, MODEL:VERSION, MODEL@ENVIRONMENT or an artifact's id.")
    ],
    /,
    *,
    to: Annotated[str | None, Parameter(help="The environment it would be promoted to.")] = None,
    policy: Annotated[
        str | None, Parameter(help="With --to: a policy's file or name to judge by; without it, the one that is configured.")
    ] = None,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Show every rule with its inputs and its outcome."""
    if policy is not None and to is None:
        raise BadInput("What was decided is told by the policy it was decided by; to judge by another one now, say where: --to ENVIRONMENT")
    settings = _under(running_parts(), policy)
    if to is not None:
        return _explain_now(settings, reference(settings, what), to, person(requested_by), as_json)
    return _explain_then(settings, _promotion_id(what), as_json)


def simulate(
    *,
    policy: Annotated[str | None, Parameter(help="A policy's file or name; without it, the one that is configured.")] = None,
    environment: Annotated[str | None, Parameter(help="Only promotions to this environment.")] = None,
    model: Annotated[str | None, Parameter(help="Only promotions of this model.")] = None,
    since: Annotated[str | None, Parameter(help="Only promotions asked for since then, such as 2026-01-31 or 2026-01-31T09:00Z.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a policy over past promotions; nothing is recorded."""
    settings = _under(running_parts(), policy)
    which = Which(environment and environment_named(settings, environment), model, _moment(since))
    with counting("Replaying") as progress:
        found = simulating.simulate(settings, which, progress)
    if as_json:
        return say_json(_simulated(found))
    return _say_simulation(found)


def _under(settings: Settings, policy: str | None) -> Settings:
    if policy is None:
        return settings
    files.read(Path(policy))  # here it is what was typed that is wrong, and no setting
    return settings.model_copy(update={"policy": str(Path(policy).resolve()) if Path(policy).is_file() else policy})


def _explain_now(settings: Settings, what: str, to: str, requester: str, as_json: bool) -> ExitCode:
    artifact, policy, answer = deciding.preview(settings, what, to, requester)
    others = [name for name in gate.gates(settings) if name != gate.LOCAL]
    inputs = canonical_json.loads(answer.inputs or "{}")
    if as_json:
        about = {"artifact": str(artifact.id), "model": artifact.model, "version": artifact.version, "environment": inputs["environment"]}
        say_json({**about, "decisions": [_shown(gate.LOCAL, Stage.REQUEST, answer.decision, inputs, policy)], "notAsked": others})
    else:
        word = "would be allowed" if answer.decision.allowed else "would be refused"
        say(f"{artifact.model}:{artifact.version} {word} in {inputs['environment']} if {requester} asked now; nothing was recorded.")
        _say_decision(answer.decision, policy)
        for name in others:
            say(f"{name} has to agree too; it is asked only about a promotion.")
        if settings.policy == Settings().policy or not answer.decision.allowed:
            say_next(_after(artifact, inputs, allowed=answer.decision.allowed))
    return ExitCode.OK if answer.decision.allowed else ExitCode.REFUSED


def _after(artifact: Artifact, inputs: Json, *, allowed: bool) -> str:
    name = f"{artifact.model}:{artifact.version}"
    if allowed:
        return f"aiinfra promote {name} --to {inputs['environment']}"
    lacks_what_was_measured = inputs["evaluation"] is None and artifact.training_job_id
    return f"aiinfra evaluate {name}" if lacks_what_was_measured else f"aiinfra models show {name}"


def _explain_then(settings: Settings, promotion_id: UUID, as_json: bool) -> ExitCode:
    with database.snapshot(settings) as tx:
        promotion = promotions.get(tx, promotion_id)
        artifact = artifacts.get(tx, promotion.artifact_id)
        kept = policy_decisions.of_promotion(tx, promotion_id)
        digests = {one.decision.policy_digest for one in kept if one.gate == gate.LOCAL and one.decision.policy_digest}
        policies = {digest: policy_decisions.policy(tx, digest) for digest in digests}
    if as_json:
        shown = [_shown(one.gate, one.stage, one.decision, one.inputs, policies.get(one.decision.policy_digest or "")) for one in kept]
        about = {"promotion": str(promotion.id), "model": promotion.model, "version": artifact.version}
        say_json(
            {**about, "environment": promotion.environment, "status": promotion.status, "reason": promotion.reason, "decisions": shown}
        )
    else:
        _say_promotion(promotion, artifact.version, kept, policies)
    return ExitCode.OK


def _say_promotion(promotion: Promotion, version: int, kept: Sequence[GateDecision], policies: Mapping[str, Policy | None]) -> None:
    say(f"{promotion.model}:{version} to {promotion.environment}: {promotion.status}{f', {promotion.reason}' if promotion.reason else ''}")
    if not kept and promotion.decision:
        say("It was decided before answers were kept rule by rule; this is what is known:")
        _say_decision(promotion.decision, None)
    if not kept and not promotion.decision:
        say("No gate was asked about it.")
    for one in kept:
        say(f"{one.gate}, {_STAGES[one.stage]} ({one.created_at:%Y-%m-%d %H:%M:%S} UTC):")
        _say_decision(one.decision, policies.get(one.decision.policy_digest or ""))


def _say_decision(decision: Decision, policy: Policy | None) -> None:
    say_fields(
        {
            "answer": "yes" if decision.allowed else "no answer" if decision.unavailable else decision.decision or "no",
            "reason": decision.reason,
            "policy": f"{policy.name} {policy.version}" if policy else decision.policy_id,
            "digest": decision.policy_digest,
            "asks for": _asked_for(decision),
        }
    )
    for one in _rules(decision, policy):
        say(f"Rule {one['id']}")
        say_fields({"says": one["verdict"], "why": one["reason"], "saw": _used(one), "expression": one["expression"]})


def _asked_for(decision: Decision) -> str | None:
    approvals = decision.conditions.approvals if decision.conditions else {}
    return ", ".join(f"{number} approval{'s' if number > 1 else ''} as {role}" for role, number in sorted(approvals.items())) or None


def _used(rule: Json) -> str | None:
    seen = ((path, canonical_json.dumps(value).decode()) for path, value in rule["used"].items())
    return "\n".join(f"{path} = {text if len(text) <= _MOST_VALUE else f'{text[:_MOST_VALUE]}…'}" for path, text in seen) or None


def _rules(decision: Decision, policy: Policy | None) -> list[Json]:
    if decision.source != gate.LOCAL:
        return []
    expressions = {rule.id: rule.expression for rule in policy.rules} if policy else {}
    return [{**one, "expression": expressions.get(one["id"])} for one in (decision.answer or {}).get("rules", [])]


def _shown(name: str, stage: Stage, decision: Decision, inputs: Mapping[str, Any] | None, policy: Policy | None) -> Json:
    own = decision.model_dump(mode="json", by_alias=True, exclude={"answer", "source"})
    return {"gate": name, "stage": stage, **own, "rules": _rules(decision, policy), "inputs": inputs}


def _promotion_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadInput(f"{text} is no promotion's id; to see what would be decided now, say where: --to ENVIRONMENT") from None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise BadInput(f"--since takes a day or a moment, such as 2026-01-31 or 2026-01-31T09:00Z, not {text!r}.") from None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _say_simulation(found: Simulation) -> None:
    refused = sum(not one.decision.allowed for one in found.changed)
    named = ", ".join(sorted({f"{policy.name} {policy.version}" for policy in found.policies})) or "the policy"
    if found.changed:
        rows = [_row(one) for one in found.changed[-_MOST_SHOWN:]]
        say_table(("PROMOTION", "MODEL", "TO", "DECIDED", "WAS", "WOULD BE", "RULE", "WHY"), rows)
    more = len(found.changed) - _MOST_SHOWN
    say(
        f"{found.replayed} past promotions replayed with {named}: {found.replayed - len(found.changed)} would be decided as they were, "
        f"{refused} would be refused, {len(found.changed) - refused} would be allowed."
    )
    if more > 0:
        say(f"{more} older changes are not shown; --json has all of them.")


def _row(one: Replayed) -> tuple[Any, ...]:
    case = one.past.case
    name = f"{case.artifact.model}:{case.artifact.version}"
    words = ("yes" if one.past.allowed else "no", "yes" if one.decision.allowed else "no")
    return (one.past.id, name, case.environment, f"{case.at:%Y-%m-%d %H:%M}", *words, one.decision.rule_id, one.decision.reason)


def _simulated(found: Simulation) -> Json:
    return {
        "replayed": found.replayed,
        "same": found.replayed - len(found.changed),
        "policies": [{"name": policy.name, "version": policy.version, "digest": policy.digest()} for policy in found.policies],
        "changed": [
            {
                "promotion": str(one.past.id),
                "model": one.past.case.artifact.model,
                "version": one.past.case.artifact.version,
                "environment": one.past.case.environment,
                "decidedAt": one.past.case.at.isoformat(),
                "status": one.past.status,
                "gate": one.past.gate,
                "was": one.past.allowed,
                "wouldBe": one.decision.allowed,
                "rule": one.decision.rule_id,
                "reason": one.decision.reason,
            }
            for one in found.changed
        ],
    }
