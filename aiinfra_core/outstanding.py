"""Promotions that the gate allowed and that are not applied yet: whether they still wait, and whether the yes they got still counts.

The steps before and after live in `promoting`; who has to agree and whose agreement counts in `agreeing`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiinfra_core import agreeing, database, deciding
from aiinfra_core.domain.promotion import Stage
from aiinfra_core.errors import Unavailable
from aiinfra_core.registry import policy_decisions, promotion_moves, promotions
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings

Row = Mapping[str, Any]

YES_COUNTS_FOR = timedelta(minutes=10)
"""How old a gate's yes may be when it is used: what it was said about may have changed since.

From a yes to the pointer it takes seconds, with a slow signer minutes; only a process that died on the way leaves an older one.
"""
TOO_OLD = f"the gate's yes was more than {YES_COUNTS_FOR // timedelta(minutes=1)} minutes old and was not used; ask again"
_ASKS_FOR_MORE = "the policy asks for more now; ask again"


def is_too_old(settings: Settings, known: Dossier, at: datetime) -> bool:
    """Say whether what the gates said last about a promotion is too old to be used."""
    if at - known.row["created_at"] < YES_COUNTS_FOR:  # nothing can have been said before it was asked for
        return False
    with database.autocommit(settings) as connection:
        said = [one.created_at for one in policy_decisions.of_promotion(connection, known.promotion.id)]
    return at - max(said, default=known.row["created_at"]) >= YES_COUNTS_FOR


def settle(settings: Settings, known: Dossier) -> Row:
    """Carry on a promotion that waits, and return its row: it is over, waits on, or everybody agreed and the gates said yes again.

    Raises:
        Unavailable: a gate cannot be asked again; the promotion still waits.
    """
    at = datetime.now(UTC)
    if known.row["pending_until"] <= at:
        return _expire(settings, known, "not everybody agreed in time who had to; ask again")
    if agreeing.missing(settings, known, at):
        return _wait_on(settings, known)
    # Whoever waited long is judged again: what was asked for may be forbidden by now.
    judgement = deciding.decide(settings, known, Stage.APPLY)
    if judgement.together.unavailable:
        raise Unavailable(judgement.together.source, f"{judgement.together.reason} The promotion still waits; the same command goes on.")
    more = _ASKS_FOR_MORE if agreeing.asks_for_more(settings, known.promotion, judgement.together.conditions, at) else None
    with database.transaction(settings) as tx:
        return promotion_moves.agree(tx, known.row, judgement, too_little=more, at=datetime.now(UTC))


def _wait_on(settings: Settings, known: Dossier) -> Row:
    with database.autocommit(settings) as connection:
        if promotions.sequence(connection, known.promotion.environment, known.promotion.model) == known.promotion.sequence_seen:
            return known.row
        return promotion_moves.supersede(connection, known.row, at=datetime.now(UTC))


def ended(settings: Settings, known: Dossier, at: datetime) -> Row | None:
    """End an approved promotion if the approvals it has, or the yes, do not count any more; None where it may be applied."""
    until = known.row["pending_until"]
    if until is not None and until <= at:
        return _expire(settings, known, "everybody had agreed, and it was not applied before its time was over; ask again", anew=True)
    if missing := agreeing.missing(settings, known, at):
        return _expire(settings, known, f"no approval as {', '.join(missing)} counted any more when it was to be applied; ask again")
    return _expire(settings, known, TOO_OLD, anew=True) if is_too_old(settings, known, at) else None


def _expire(settings: Settings, known: Dossier, reason: str, *, anew: bool = False) -> Row:
    with database.transaction(settings) as tx:
        return promotion_moves.expire(tx, known.row, reason, anew=anew, at=datetime.now(UTC))
