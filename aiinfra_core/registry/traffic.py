"""Where the traffic of a model goes, as the rows say: what is current, the rollout beside it, and what both have to agree with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Pointer, PromotionStatus
from aiinfra_core.domain.rollout import OPEN, Action, Rollout, Verdict
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import Promotion
from aiinfra_core.registry import dossier, rollouts
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.rows import first
from aiinfra_core.rollout_tables import rollouts as rollout_rows
from aiinfra_core.tables import environment_pointers


@dataclass(frozen=True)
class Watched:
    """What says whether anybody still judges an open rollout."""

    spec: RolloutSpec
    created_at: datetime
    looked_at: datetime | None


@dataclass(frozen=True)
class Traffic:
    """What is current for a model in an environment, the rollout that shares its traffic, and when it was read, by the database's clock."""

    pointer: Pointer
    watched: Watched | None
    at: datetime


@dataclass(frozen=True)
class Shared:
    """An open rollout with what its row has to agree with.

    `spec_digest` is of the spec as it is kept, `step` the one that looks and orders led to.
    """

    rollout: Rollout
    challenger: Dossier
    spec_digest: str
    step: int


_WATCHED = tuple(rollout_rows.c[name] for name in ("spec", "created_at", "looked_at"))
_TRAFFIC = (
    select(environment_pointers, func.statement_timestamp().label("at"), *(column.label(f"rollout_{column.name}") for column in _WATCHED))
    .outerjoin(rollout_rows, rollout_rows.c.id == environment_pointers.c.rollout_id)
    .where(environment_pointers.c.environment == bindparam("in_environment"), environment_pointers.c.model == bindparam("of_model"))
)


def of_model(tx: Connection, environment: str, model: str) -> Traffic | None:
    """Return where the traffic of a model in an environment goes, or None where nothing is current.

    Raises:
        EvidenceBroken: at `rollout`; the spec of the rollout cannot be read.
    """
    row = first(tx, _TRAFFIC, {"in_environment": environment, "of_model": model})
    if row is None:
        return None
    at = row.pop("at")
    spec, created_at, looked_at = (row.pop(f"rollout_{column.name}") for column in _WATCHED)
    with _readable(row["rollout_id"]):
        watched = None if spec is None else Watched(_spec(spec), created_at, looked_at)
    return Traffic(Pointer(**row), watched, at)


def shared(tx: Connection, pointer: Pointer) -> Shared | None:
    """Return the rollout that a pointer names, or None where it names none.

    Raises:
        NotFound: what it names, or its promotion, is not there.
        EvidenceBroken: at `rollout`; its row, or its newest look, cannot be read.
    """
    if pointer.rollout_id is None:
        return None
    row = rollouts.row_of(tx, pointer.rollout_id)
    with _readable(pointer.rollout_id):
        rollout = rollouts.rollout_from(row)
        step = _step(tx, rollout)
    return Shared(rollout, dossier.of_promotion(tx, rollout.promotion_id), sha256_hex(row["spec"].encode()), step)


def check(pointer: Pointer, champion: Dossier, shared: Shared) -> None:
    """Check that the rows of an open rollout agree with each other, its manifest's spec, its looks and its orders; signatures are not.

    Raises:
        EvidenceBroken: at `rollout`; it names what differs.
    """
    if shared.rollout.status not in OPEN:
        raise EvidenceBroken("rollout", f"{shared.rollout.id} has ended, but the pointer names it; find out who changed it.")
    for what, (said, must_be) in (_promotions(pointer, champion, shared) | _shares(shared)).items():
        if said != must_be:
            raise EvidenceBroken(
                "rollout", f"{shared.rollout.id} has the {what} {said}, where {must_be} follows from its evidence; find out who changed it."
            )


def _promotions(pointer: Pointer, champion: Dossier, shared: Shared) -> dict[str, tuple[Any, Any]]:
    rollout, challenger = shared.rollout, shared.challenger.promotion
    return {
        "environment": (rollout.environment, pointer.environment),
        "model": (rollout.model, pointer.model),
        "champion": (rollout.champion, pointer.promotion_id),
        "sequence": (rollout.sequence, pointer.sequence),
        "champion's status": (champion.promotion.status.value, PromotionStatus.APPLIED.value),
        "challenger's status": (challenger.status.value, PromotionStatus.ROLLING_OUT.value),
    }


def _shares(shared: Shared) -> dict[str, tuple[Any, Any]]:
    rollout, shares = shared.rollout, dict(enumerate(weight for weight in shared.rollout.spec.steps if weight < WHOLE))
    return {
        "spec": (shared.spec_digest, rollout.spec_digest),
        "spec digest": (rollout.spec_digest, _asked_for(shared.challenger)),
        "salt": (rollout.salt, rollout.spec.salt or rollout.salt),
        "step": (rollout.step, shared.step),
        "weight": (rollout.weight, shares.get(rollout.step)),
    }


def _asked_for(challenger: Dossier) -> str | None:
    """Return the digest of the spec that a challenger's manifest names; None where it has none, or names none."""
    if challenger.manifest_envelope is None:
        return None
    said = statement.parse(dsse.parse(challenger.manifest_envelope).payload).predicate
    return said.promotion.rollout_digest if isinstance(said, Promotion) else None


def _step(tx: Connection, rollout: Rollout) -> int:
    """Return the step that the newest look, and what was ordered since, led to: looks and orders are rows that nobody changes."""
    look = rollouts.newest_look(tx, rollout.id)
    orders = [order for order in rollouts.orders(tx, rollout.id) if order.action is Action.ADVANCE]
    if look is None:
        return len(orders)
    return look.step + (look.verdict is Verdict.ADVANCE) + sum(order.created_at >= look.created_at for order in orders)


@contextmanager
def _readable(rollout_id: UUID | None) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, BadInput):
        raise EvidenceBroken("rollout", f"{rollout_id} cannot be read; find out who changed it, with: aiinfra verify") from None


@lru_cache(maxsize=256)
def _spec(text: str) -> RolloutSpec:
    return RolloutSpec(**canonical_json.loads(text))
