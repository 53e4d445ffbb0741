"""`promote`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core import database
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, score, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Pairs, Reference, RequestedBy, RequestId, checked, person, reference, values
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.promoting import promote as run
from aiinfra_core.registry import artifacts
from aiinfra_core.settings import Settings

_ENDED_WITH_A_NO = (PromotionStatus.REJECTED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED, PromotionStatus.ROLLED_BACK)
_WORDS = {
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
    as_json: AsJson = False,
) -> ExitCode:
    """Ask for a promotion and carry it out as far as it is allowed."""
    claimed, who = values("--metric", metric) or None, person(requested_by)
    settings, begun = running_parts(), datetime.now(UTC)
    request = checked(
        PromotionRequest,
        artifact=reference(settings, artifact),
        environment=to,
        evaluation=claimed,
        requested_by=who,
        request_id=request_id,
    )
    with working(f"Promoting {artifact} to {to}"):
        promotion = run(settings, request)
    if as_json:
        say_json(promotion)
    else:
        _say(settings, promotion)
    if promotion.created_at < begun:
        _note_recorded(promotion)
    return _exit_code(promotion)


def _exit_code(promotion: Promotion) -> ExitCode:
    if promotion.status not in _ENDED_WITH_A_NO:
        return ExitCode.OK
    return ExitCode.UNAVAILABLE if (promotion.reason or "").startswith("unavailable:") else ExitCode.REFUSED


def _note_recorded(promotion: Promotion) -> None:
    anew = "; to ask anew, add --request-id NAME" if promotion.status in _ENDED_WITH_A_NO else ""
    note(f"This was asked before and answered {promotion.updated_at:%Y-%m-%d %H:%M:%S} UTC{anew}.")


def _say(settings: Settings, promotion: Promotion) -> None:
    with database.transaction(settings) as tx:
        artifact = artifacts.get(tx, promotion.artifact_id)
    name = f"{promotion.model}:{artifact.version}"
    say(f"{name} {_WORDS.get(promotion.status, f'ended {promotion.status} for')} {promotion.environment}")
    say_fields(_facts(promotion))
    if _exit_code(promotion) is ExitCode.UNAVAILABLE:
        say("Nothing was changed; ask again with the same command.")
    if promotion.status is PromotionStatus.APPLIED:
        say_next(_after(name, promotion, settings.environments))
    if promotion.status is PromotionStatus.REJECTED and not promotion.evaluation and _exit_code(promotion) is ExitCode.REFUSED:
        claim = f"aiinfra promote {name} --to {promotion.environment} --metric quality=SCORE"
        say_next(f"aiinfra evaluate {name}" if artifact.training_job_id else claim)


def _facts(promotion: Promotion) -> dict[str, Any]:
    decision = promotion.decision
    return {
        "reason": promotion.reason or (decision.reason if decision else None),
        "judged on": score(promotion.evaluation),
        "evaluation": promotion.evaluation_kind,
        "policy": f"{decision.policy_id or 'none named'} ({decision.source})" if decision else None,
        "manifest": promotion.manifest,
        "signer": promotion.signer_id,
        "promotion": promotion.id,
    }


def _after(name: str, promotion: Promotion, environments: Sequence[str]) -> str:
    environment = promotion.environment
    later = environments[environments.index(environment) + 1 :] if environment in environments else ()
    claimed = " --metric quality=SCORE" if promotion.evaluation_kind == "claimed" else ""
    return f"aiinfra promote {name} --to {later[0]}{claimed}" if later else f"aiinfra verify {name}"
