"""Going back, by a person: to the version that was current before, or away from a challenger that still earns its traffic.

Where a rollout is open it is ended, and the champion, which never stopped being current, has all traffic again. Else it is a promotion like
any other, with all its steps (`promoting`), but at once: it says that it goes back, from what and why. What a look sends back by itself is
`rolling_out`'s business.
"""

from uuid import UUID

from sqlalchemy import Connection

from aiinfra_core import database, measurements, promoting, rolling_out
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.rollout import Action, Rollback, RollbackRequest, Rollout
from aiinfra_core.errors import RequestIdReused
from aiinfra_core.registry import previous, rollouts
from aiinfra_core.registry.previous import Gave, Standing, Target
from aiinfra_core.rolling_out.ordering import checked_reason
from aiinfra_core.settings import Settings, environment_named


def roll_back(settings: Settings, request: RollbackRequest, *, asked_by: str | None = None) -> Promotion:
    """Go back, and return the promotion that does so, or the one that was sent back where a rollout was open.

    Raises:
        NotFound: there is no such environment, nothing is current there, or nothing was before; nothing is recorded.
        BadInput: the version that was named is what is current, or the reason cannot be recorded.
        Conflict: the request id was used for something else, or the rollout ended at this moment by itself; look, and ask again.
        Outdated: something else became current at this moment; look, and ask again.
        Unavailable: a part was lost on the way; the same call with the same request id continues where it stood.
    """
    with measurements.promotion():
        return promoting.go_on(settings, request_rollback(settings, request, asked_by=asked_by))


def request_rollback(settings: Settings, request: RollbackRequest, *, asked_by: str | None = None) -> UUID:
    """End the rollout that is open, if one is; record that somebody asks to go back where there is more to do. Return the promotion.

    Raises:
        NotFound, BadInput, Conflict, Outdated, Unavailable: as `roll_back`.
    """
    wanted = {"environment": environment_named(settings, request.environment), "reason": checked_reason(request.reason)}
    request = request.model_copy(update=wanted)
    with database.autocommit(settings) as connection:
        if (gave := _gave_before(connection, request)) is not None:
            return gave
        now = previous.standing(connection, request.environment, request.model)
        rollout = rollouts.open_in(connection, request.environment, request.model)
        target = _target(connection, request, now, rollout)
    if rollout is not None:
        who = asked_by or request.requested_by
        rolling_out.order(settings, rollout.id, Action.ROLLBACK, reason=request.reason, ordered_by=who, request_id=request.request_id)
        if target is None:
            return rollout.promotion_id
    assert target is not None  # noqa: S101 - a slip of ours: only where a rollout is open there may be nowhere to go
    return _ask(settings, request, now, target, asked_by)


def _target(connection: Connection, request: RollbackRequest, now: Standing, rollout: Rollout | None) -> Target | None:
    """Return where to go back to; None where ending the rollout is all."""
    if rollout is not None and request.to in (None, now.version):
        return None
    if request.to is not None:
        return previous.of_version(connection, request.environment, now, request.model, request.to)
    return previous.good(connection, request.environment, now, request.model)


def _ask(settings: Settings, request: RollbackRequest, now: Standing, target: Target, asked_by: str | None) -> UUID:
    asked = PromotionRequest(
        artifact=str(target.artifact_id),
        environment=request.environment,
        judged_on=target.judged_on,
        requested_by=request.requested_by,
        request_id=request.request_id,
        sequence_seen=now.sequence,
    )
    rollback = Rollback(reason=request.reason, replaces=now.promotion_id)
    return promoting.request_promotion(settings, asked, asked_by=asked_by, rollback=rollback)


# What is current has changed by the time a request is made again: it must not be taken for a new one.
def _gave_before(connection: Connection, request: RollbackRequest) -> UUID | None:
    if request.request_id is None:
        return None
    about = (request.request_id, request.environment, request.model)
    if (asked := previous.asked_before(connection, *about)) is not None:
        return _same(request, asked)
    ordered = previous.ordered_before(connection, *about)
    if ordered is None or request.to not in (None, ordered.version):
        return None  # a rollout was ended on the way to a version that was named: go on from there
    return _same(request, ordered)


def _same(request: RollbackRequest, gave: Gave) -> UUID:
    if gave.reason != request.reason or request.to not in (None, gave.version):
        raise RequestIdReused(f"Request id {request.request_id} was used before for another rollback; choose a new one.")
    return gave.promotion_id
