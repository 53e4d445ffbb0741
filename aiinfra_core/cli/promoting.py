"""`promote`."""

from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, score, working
from aiinfra_core.cli.promotion_typed import NOTHING, WayOptions
from aiinfra_core.cli.registry import Registry, Server, Wanted, at, registry_at
from aiinfra_core.cli.typed import Pairs, Reference, RequestedBy, RequestId, checked, digest, values
from aiinfra_core.domain.promotion import REFUSED, PromotionStatus
from aiinfra_core.wire.records import SentPromotion

_ENDED_WITH_A_NO = (*REFUSED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED, PromotionStatus.ROLLED_BACK)
_MOST_ROLLOUTS = 500
_WORDS: dict[str, str] = {
    PromotionStatus.APPLIED: "is current in",
    PromotionStatus.ROLLING_OUT: "earns its traffic step by step in",
    PromotionStatus.PENDING_APPROVAL: "waits for approval for",
    PromotionStatus.REJECTED: "was refused for",
    PromotionStatus.QUARANTINED: "was refused and is to be quarantined; it was asked for",
    PromotionStatus.REMEDIATION: "has to be mended first; it was asked for",
}


def promote(
    artifact: Reference,
    /,
    way: WayOptions = NOTHING,
    *,
    to: Annotated[str, Parameter(help="The environment, such as staging or prod.")],
    metric: Annotated[Pairs, Parameter(help="A claimed score, judged instead of what was measured.")] = None,
    evaluation: Annotated[
        str | None, Parameter(metavar="DIGEST", help="The recorded evaluation to judge; without it, the newest measured.")
    ] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Ask for a promotion and carry it out as far as it is allowed."""
    claimed = values("--metric", metric, "quality=0.9") or None
    about = {
        "artifact": artifact,
        "environment": to,
        "evaluation": claimed,
        "judged_on": digest("--evaluation", evaluation, "a recorded evaluation"),
        **way.asked(),
    }
    wanted = checked(Wanted, **about, requested_by=requested_by, request_id=request_id)
    with registry_at(server) as registry:
        begun = registry.now()
        with working(f"Promoting {artifact} to {to}"):
            promotion = registry.promote(wanted)
        if as_json:
            say_json(promotion)
        else:
            _say(registry, promotion, server)
    if promotion.updated_at < begun:
        _note_recorded(promotion)
    elif wanted.rollout and not wanted.rollout.at_once and promotion.status == PromotionStatus.APPLIED:
        note("Nothing was current to compare it with, so it got all traffic at once.")
    return exit_code_of(promotion)


def awaited(promotion: SentPromotion) -> str | None:
    """Return whom a promotion waits for in words, None for nobody."""
    return ", ".join(f"{needed} as {role}" for role, needed in (promotion.approvals_required or {}).items()) or None


def exit_code_of(promotion: SentPromotion) -> ExitCode:
    """Return what the shell is told about a promotion; one that waits for people is no failure."""
    if promotion.status not in _ENDED_WITH_A_NO:
        return ExitCode.OK
    return ExitCode.UNAVAILABLE if (promotion.reason or "").startswith("unavailable:") else ExitCode.REFUSED


def goes_back(registry: Registry, promotion: SentPromotion) -> str | None:
    """Return the version that a rollback goes back from, None where it is none."""
    if promotion.rollback is None:
        return None
    replaced = registry.promotion(promotion.rollback.replaces)
    return f"{replaced.model}:{registry.artifact(str(replaced.artifact_id)).version}"


def _note_recorded(promotion: SentPromotion) -> None:
    anew = "; to ask anew, add --request-id NAME" if promotion.status in _ENDED_WITH_A_NO else ""
    note(f"This was asked before and answered {promotion.updated_at:%Y-%m-%d %H:%M:%S} UTC{anew}.")


def _say(registry: Registry, promotion: SentPromotion, server: str | None) -> None:
    artifact = registry.artifact(str(promotion.artifact_id))
    name = f"{promotion.model}:{artifact.version}"
    say(f"{name} {_WORDS.get(promotion.status, f'ended {promotion.status} for')} {promotion.environment}")
    say_fields(_facts(promotion))
    if exit_code_of(promotion) is ExitCode.UNAVAILABLE:
        say("Nothing was changed; ask again with the same command.")
    if promotion.status == PromotionStatus.PENDING_APPROVAL:
        say("Somebody else has to agree; whoever does so last carries it on.")
        say_next(f"aiinfra approve {promotion.id}{at(server)}")
    if promotion.status == PromotionStatus.ROLLING_OUT:
        say("What was current stays so until the evidence is there; each look is done by: aiinfra rollout run")
        say_next(f"aiinfra rollout show {promotion.model}@{promotion.environment}{at(server)}")
    if promotion.status == PromotionStatus.APPLIED:
        say_next(f"{_after(registry, name, promotion)}{at(server)}")
    if exit_code_of(promotion) is ExitCode.REFUSED and (looked_at := _why(registry, promotion, server)):
        say_next(looked_at)


def _why(registry: Registry, promotion: SentPromotion, server: str | None) -> str | None:
    """Return the command that shows why a promotion ended with a no: by its rollout, or before it had one."""
    if promotion.rollout:
        there = registry.rollouts(promotion.environment, promotion.model, False, _MOST_ROLLOUTS)
        if own := next((one for one in there if one.promotion_id == promotion.id), None):
            return f"aiinfra rollout show {own.id}{at(server)}"
    if promotion.status not in REFUSED:
        return None
    return f"aiinfra approvals page {promotion.id} --out promotion.html{at(server)}" if server else f"aiinfra policy explain {promotion.id}"


def _facts(promotion: SentPromotion) -> dict[str, Any]:
    decision = promotion.sentinel_decision
    return {
        "reason": promotion.reason or (decision.reason if decision else None),
        **(_waits(promotion) if promotion.status == PromotionStatus.PENDING_APPROVAL else {}),
        "traffic": _steps(promotion),
        "judged on": score(promotion.evaluation),
        "evaluation": promotion.evaluation_kind,
        "policy": f"{decision.policy_id or 'none named'} ({decision.source})" if decision else None,
        "manifest": promotion.manifest,
        "signer": promotion.signer_id,
        "promotion": promotion.id,
    }


def _steps(promotion: SentPromotion) -> str | None:
    steps = promotion.rollout
    return " → ".join(f"{weight:g} %" for weight in steps.weights) + f" by {steps.unit}" if steps else None


def _waits(promotion: SentPromotion) -> dict[str, str | None]:
    until = f"{promotion.pending_until:%Y-%m-%d %H:%M} UTC" if promotion.pending_until else None
    return {"needs": awaited(promotion), "waits until": until}


def _after(registry: Registry, name: str, promotion: SentPromotion) -> str:
    environment, environments = promotion.environment, registry.environments()
    later = environments[environments.index(environment) + 1 :] if environment in environments else ()
    claimed = " --metric quality=SCORE" if promotion.evaluation_kind == "claimed" and registry.judges_by_default() else ""
    return f"aiinfra promote {name} --to {later[0]}{claimed}" if later else f"aiinfra verify {name}"
