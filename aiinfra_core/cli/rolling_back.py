"""`rollback`."""

from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, working
from aiinfra_core.cli.promoting import awaited, exit_code_of, goes_back
from aiinfra_core.cli.registry import Registry, Server, WantedBack, at, registry_at
from aiinfra_core.cli.typed import RequestedBy, RequestId
from aiinfra_core.domain.promotion import REFUSED, PromotionStatus
from aiinfra_core.wire.records import SentPromotion


def rollback(
    model: Annotated[str, Parameter(help="The model's name.")],
    /,
    *,
    env: Annotated[str, Parameter(help="The environment, such as prod.")],
    reason: Annotated[str, Parameter(help="Why; it is signed and kept.")],
    to: Annotated[int | None, Parameter(metavar="VERSION", help="The version to go back to; without it, the one before.")] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Go back to what was current before."""
    wanted = WantedBack(model=model, environment=env, to=to, reason=reason, requested_by=requested_by, request_id=request_id)
    with registry_at(server) as registry:
        with working(f"Going back with {model} in {env}"):
            promotion = registry.roll_back(wanted)
        if as_json:
            say_json(promotion)
        else:
            _say(registry, promotion, server)
    return ExitCode.OK if _was_sent_back(promotion) else exit_code_of(promotion)


def _was_sent_back(promotion: SentPromotion) -> bool:
    """Say whether it is the challenger of a rollout that was open: that it was sent back is what was wanted."""
    return promotion.status == PromotionStatus.ROLLED_BACK


def _say(registry: Registry, promotion: SentPromotion, server: str | None) -> None:
    name = f"{promotion.model}:{registry.artifact(str(promotion.artifact_id)).version}"
    place = promotion.environment
    words = {
        PromotionStatus.APPLIED: f"{name} is current in {place} again",
        PromotionStatus.ROLLED_BACK: f"{name} was sent back; all traffic of {place} goes to what was current all along",
        PromotionStatus.PENDING_APPROVAL: f"Going back to {name} in {place} waits for approval",
    }
    say(words.get(PromotionStatus(promotion.status), f"Going back to {name} in {place} ended {promotion.status}"))
    needs = awaited(promotion) if promotion.status == PromotionStatus.PENDING_APPROVAL else None
    decision = promotion.sentinel_decision
    reason = promotion.reason or (decision.reason if decision else None)
    back = promotion.rollback
    why = {"why": back.reason, "goes back from": goes_back(registry, promotion)} if back else {}
    say_fields({**why, "reason": reason, "needs": needs, "manifest": promotion.manifest, "promotion": promotion.id})
    if promotion.status == PromotionStatus.PENDING_APPROVAL:
        say_next(f"aiinfra approve {promotion.id}{at(server)}")
    elif promotion.status not in REFUSED:
        say_next(f"aiinfra verify {promotion.model}@{place}{at(server)}")
