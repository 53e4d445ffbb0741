"""Driving rollouts: look at each that is due, do what the judge says of it, and carry out what people order.

A look hears every signal (`hearing`), has `canary` judge it, and makes one move (`registry.rollout_moves`): of two that look at the same
time one does, and whoever is killed at any line left the rollout as it was, or moved. A challenger is verified once more before it becomes
current. What people order is signed in `ordering`. The service looks beside its requests (`beside`), elsewhere the flow `rollout` does.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from aiinfra_core import canary, database, measurements, promoting
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import OPEN, Action, Look, Rollout, RolloutStatus, Verdict
from aiinfra_core.errors import AiInfraError, BadInput, Conflict, EvidenceBroken
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import dossier, observations, rollout_moves, rollouts
from aiinfra_core.registry.observations import Observed
from aiinfra_core.registry.rollouts import Row, Standing
from aiinfra_core.rolling_out import hearing, ordering
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""So many rollouts are looked at at a time; each may wait for its signals, `signal_seconds` for each at most."""
_READ_TOGETHER = 500
_MOST_TRIES = 50


@dataclass(frozen=True)
class Looked:
    """A rollout as it is after it was looked at, with the look, or why there is none; neither where somebody was quicker."""

    rollout: Rollout
    look: Look | None
    problem: str | None = None


def look_at(settings: Settings, rollout_id: UUID, at: datetime | None = None) -> Look | None:
    """Look at a rollout now, do what the look says, and return it; None where it is over or somebody else was quicker.

    Raises:
        NotFound: there is no such rollout.
        Unavailable: the database, or what is needed to verify a challenger that is to become current, cannot be reached; nothing was moved.
        Misconfigured, EvidenceBroken: its event could not be signed here; nothing was moved.
    """
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    with database.autocommit(settings) as connection:
        known = rollouts.standing(connection, rollout_id)
        observed = observations.observed(connection, [known.rollout])[rollout_id]
    looked = _look(settings, known, observed, at)
    keep_up(settings)
    return looked.look


def look_round(settings: Settings, at: datetime | None = None) -> list[Looked]:
    """Look at every open rollout that is due; one that cannot be looked at now is logged and told of, and left for the next time.

    Those for which nobody besides our database is asked come first.

    Raises:
        Misconfigured, EvidenceBroken: events could not be signed here, so nothing was looked at.
        Unavailable: the database cannot be reached.
    """
    audit_signer(settings)
    with database.autocommit(settings) as connection:
        known = rollouts.due(connection, at)
    wanted = sorted(known, key=lambda one: hearing.asks_others(one.rollout))
    some = [wanted[first : first + _READ_TOGETHER] for first in range(0, len(wanted), _READ_TOGETHER)]
    looked = [one for those in some for one in _look_at_some(settings, those, at)]
    if looked:
        keep_up(settings)
    return looked


def due(settings: Settings) -> list[Rollout]:
    """Return the open rollouts that are to be looked at by now, the one that waits longest first.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.autocommit(settings) as connection:
        return [one.rollout for one in rollouts.due(connection)]


def next_due(settings: Settings) -> datetime | None:
    """Return when an open rollout is to be looked at next, None where none is open.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.autocommit(settings) as connection:
        return rollouts.next_due(connection)


def order(
    settings: Settings,
    rollout_id: UUID,
    action: Action,
    *,
    reason: str,
    ordered_by: str,
    step: int | None = None,
    issuer: str = "",
    request_id: str | None = None,
) -> Rollout:
    """Do with a rollout what somebody orders, signed in their name, and return it as it stands then; the same request is done once.

    Where it stands as it is ordered already, nothing is done. To advance skips evidence that is not there yet: the rollout is looked at
    first, and one that ends by that is over. It does not skip the verification of what becomes current.

    Args:
        settings: the service's.
        rollout_id: the rollout.
        action: what is to be done with it.
        reason: why; it is signed and kept.
        ordered_by: who orders it.
        step: the step that was seen, from 0: at another one nothing is done. To advance needs it.
        issuer: who says that it is `ordered_by` who orders it.
        request_id: a name for this order.

    Raises:
        NotFound: there is no such rollout.
        BadInput: it has no reason, who orders it cannot be recorded, or the bytes that are to become current are not there.
        Conflict: the rollout is over, or the request id was used for something else.
        Outdated: it is at another step than the one that was seen.
        Forbidden: it is to advance, people had to agree to its promotion, and whoever orders it could not be one of them.
        EvidenceBroken: what is to become current does not verify, and nothing was moved; or the event could not be signed here.
        Unavailable: a required part cannot be reached; the same call may be made again.
    """
    asked = ordering.checked(ordering.Asked(rollout_id, action, reason, ordered_by, request_id, step, issuer))
    audit_signer(settings)
    looks_first = asked.action is Action.ADVANCE
    for _ in range(_MOST_TRIES):  # a look, or the same request, may be quicker
        with database.autocommit(settings) as connection:
            known = rollouts.standing(connection, rollout_id)
            if ordering.is_done(connection, asked, known.rollout):
                return known.rollout
        ordering.check_may(settings, asked, known.rollout)
        if looks_first:
            look_at(settings, rollout_id)
            looks_first = False
            continue
        ordered = ordering.signed(settings, asked, known.rollout)  # each time anew: it says when, and comes after what was read
        if after := _obey(settings, asked, known, ordered):
            _tell(settings, known, after)
            return rollouts.rollout_from(after)
    raise Conflict(
        f"Rollout {rollout_id} changes faster than anything can be ordered about it; try again, and if it stays so: aiinfra verify"
    )


def _look_at_some(settings: Settings, some: Sequence[Standing], at: datetime | None) -> list[Looked]:
    with database.autocommit(settings) as connection:
        observed = observations.observed(connection, [one.rollout for one in some])
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="looks") as pool:
        return list(pool.map(lambda known: _looked_or_why_not(settings, known, observed[known.rollout.id], at), some))


def _looked_or_why_not(settings: Settings, known: Standing, observed: Observed, at: datetime | None) -> Looked:
    try:
        return _look(settings, known, observed, at)
    except AiInfraError as error:
        logger.warning("Rollout %s goes on as it is, and cannot be looked at now: %s", known.rollout.id, error)
        problem = str(error)
    except Exception as error:
        logger.exception("Something unexpected happened while rollout %s was looked at", known.rollout.id)
        problem = f"Something unexpected happened ({type(error).__name__}); the log shows where."
    return Looked(known.rollout, None, problem)


def _look(settings: Settings, known: Standing, observed: Observed, at: datetime | None) -> Looked:
    rollout = known.rollout
    if rollout.status not in OPEN:
        return Looked(rollout, None)
    at = max(at or known.now(), known.row["updated_at"] + timedelta(microseconds=1))  # a clock may go back, what was seen must not
    said = hearing.hear(settings, rollout, known.look, observed, at)
    look = canary.judge(rollout.spec, canary.seen(rollout, at), known.look, said.readings)
    after = _carry_out(settings, known, look, said.frozen, at)
    if after is None:
        return Looked(rollout, None)
    _tell(settings, known, after)
    return Looked(rollouts.rollout_from(after), look)


def _carry_out(settings: Settings, known: Standing, look: Look, frozen: dict[str, float] | None, at: datetime) -> Row | None:
    """Make the one move that a look leads to; None where somebody was quicker."""
    row, rollout = known.row, known.rollout
    completes = look.verdict is Verdict.ADVANCE and ordering.completes(rollout, Action.ADVANCE)
    problem = _problem(settings, rollout) if completes else None
    with database.autocommit(settings) as connection:
        if problem:
            return rollout_moves.end(connection, row, RolloutStatus.ABORTED, problem, look=look, at=at)
        match look.verdict:
            case Verdict.HOLD:
                heard_at = at if canary.was_heard(look) else rollout.heard_at
                return rollout_moves.hold(connection, row, look, heard_at=heard_at, frozen=frozen, at=at)
            case Verdict.ADVANCE:
                return (rollout_moves.complete if completes else rollout_moves.advance)(connection, row, look=look, at=at)
            case Verdict.ROLLBACK:
                return rollout_moves.end(connection, row, RolloutStatus.ROLLED_BACK, look.reason, look=look, at=at)
            case Verdict.INCONCLUSIVE:
                return rollout_moves.end(connection, row, RolloutStatus.INCONCLUSIVE, look.reason, look=look, at=at)


def _problem(settings: Settings, rollout: Rollout) -> str | None:
    """Verify a challenger once more, as days may have passed since it was approved; return why it may not become current."""
    try:
        _verify(settings, rollout)
    except (BadInput, EvidenceBroken) as error:
        return f"it had the evidence to become current, and no longer verifies: {error}"
    return None


def _verify(settings: Settings, rollout: Rollout) -> None:
    with database.autocommit(settings) as connection:
        challenger = dossier.of_promotion(connection, rollout.promotion_id)
    promoting.verify_again(settings, challenger)


def _obey(settings: Settings, asked: ordering.Asked, known: Standing, ordered: rollout_moves.Ordered) -> Row | None:
    completes = ordering.completes(known.rollout, asked.action)
    if completes:
        _verify(settings, known.rollout)
    return ordering.carry_out(settings, asked, known.row, ordered, completes=completes)


def _tell(settings: Settings, known: Standing, after: Row) -> None:
    """Have whoever routes told now of traffic that was changed, and count a promotion that came to its end."""
    if after["status"] == known.row["status"] and after["step"] == known.row["step"]:
        return
    keep_up(settings)
    if after["ended_at"] is not None:
        status = RolloutStatus(after["status"])
        ended = PromotionStatus.APPLIED if status is RolloutStatus.COMPLETED else rollout_moves.ENDS[status][1]
        measurements.promotion_ended(ended)
