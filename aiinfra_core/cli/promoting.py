"""`promote`."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, score, working
from aiinfra_core.cli.registry import Registry, Server, Wanted, registry_at
from aiinfra_core.cli.typed import Pairs, Reference, RequestedBy, RequestId, values
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.wire.records import SentPromotion

_ENDED_WITH_A_NO = (PromotionStatus.REJECTED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED, PromotionStatus.ROLLED_BACK)
_WORDS: dict[str, str] = {
    PromotionStatus.APPLIED: "is current in",
    PromotionStatus.PENDING_APPROVAL: "waits for approval for",
    PromotionStatus.REJECTED: "was refused for",
}


def promote(
    artifact: Reference,
    /,
    *,
    to: Annotated[str, Parameter(help="The environment, such as staging or prod.")],
    metric: Annotated[Pairs, Parameter(help="A claimed score, judged instead of what was measured.")] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Ask for a promotion and carry it out as far as it is allowed."""
    claimed = values("--metric", metric) or None
    wanted = Wanted(artifact=artifact, environment=to, evaluation=claimed, requested_by=requested_by, request_id=request_id)
    with registry_at(server) as registry:
        begun = registry.now()
        with working(f"Promoting {artifact} to {to}"):
            promotion = registry.promote(wanted)
        if as_json:
            say_json(promotion)
        else:
            _say(registry, promotion, here=not server)
    if promotion.created_at < begun:
        _note_recorded(promotion)
    return _exit_code(promotion)


def _exit_code(promotion: SentPromotion) -> ExitCode:
    if promotion.status not in _ENDED_WITH_A_NO:
        return ExitCode.OK
    return ExitCode.UNAVAILABLE if (promotion.reason or "").startswith("unavailable:") else ExitCode.REFUSED


def _note_recorded(promotion: SentPromotion) -> None:
    anew = "; to ask anew, add --request-id NAME" if promotion.status in _ENDED_WITH_A_NO else ""
    note(f"This was asked before and answered {promotion.updated_at:%Y-%m-%d %H:%M:%S} UTC{anew}.")


def _say(registry: Registry, promotion: SentPromotion, *, here: bool) -> None:
    artifact = registry.artifact(str(promotion.artifact_id))
    name = f"{promotion.model}:{artifact.version}"
    say(f"{name} {_WORDS.get(promotion.status, f'ended {promotion.status} for')} {promotion.environment}")
    say_fields(_facts(promotion))
    if _exit_code(promotion) is ExitCode.UNAVAILABLE:
        say("Nothing was changed; ask again with the same command.")
    if promotion.status == PromotionStatus.APPLIED:
        say_next(_after(name, promotion, registry.environments()))
    if promotion.status == PromotionStatus.REJECTED and not promotion.evaluation and _exit_code(promotion) is ExitCode.REFUSED:
        claim = f"aiinfra promote {name} --to {promotion.environment} --metric quality=SCORE"
        say_next(f"aiinfra evaluate {name}" if here and artifact.training_job_id else claim)


def _facts(promotion: SentPromotion) -> dict[str, Any]:
    decision = promotion.sentinel_decision
    return {
        "reason": promotion.reason or (decision.reason if decision else None),
        "judged on": score(promotion.evaluation),
        "evaluation": promotion.evaluation_kind,
        "policy": f"{decision.policy_id or 'none named'} ({decision.source})" if decision else None,
        "manifest": promotion.manifest,
        "signer": promotion.signer_id,
        "promotion": promotion.id,
    }


def _after(name: str, promotion: SentPromotion, environments: Sequence[str]) -> str:
    environment = promotion.environment
    later = environments[environments.index(environment) + 1 :] if environment in environments else ()
    claimed = " --metric quality=SCORE" if promotion.evaluation_kind == "claimed" else ""
    return f"aiinfra promote {name} --to {later[0]}{claimed}" if later else f"aiinfra verify {name}"
