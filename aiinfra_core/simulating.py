"""What a policy would have decided about promotions of the past, each with what there was to see then.

Deciding about those of today lives in `deciding`; nothing is recorded here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from aiinfra_core import database, deciding
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.policy import files
from aiinfra_core.registry import past_promotions
from aiinfra_core.registry.past_promotions import Past, Which
from aiinfra_core.rules.document import Policy
from aiinfra_core.settings import Settings

_AT_ONCE = 500
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Replayed:
    """A promotion of the past and what the policy would have said."""

    past: Past
    decision: Decision

    @property
    def changes(self) -> bool:
        """Whether that is not what was said then."""
        return self.decision.allowed != self.past.allowed


@dataclass(frozen=True)
class Simulation:
    """How many promotions were replayed, those that would have been decided otherwise, and the policies that were applied to them."""

    replayed: int
    changed: tuple[Replayed, ...]
    policies: tuple[Policy, ...]


def simulate(settings: Settings, which: Which, progress: Callable[[str, int, int], None]) -> Simulation:
    """Replay the policy of the settings over the promotions that were decided, oldest first.

    Args:
        settings: which policy, and where the promotions are.
        which: promotions to replay.
        progress: is told what is counted, how many are done, and of how many.

    Raises:
        Misconfigured: the policy cannot be used.
    """
    policies: dict[tuple[str, str], Policy] = {}
    replayed, changed = 0, list[Replayed]()
    for of, pasts in _pages(settings, which):
        for past, decision in zip(pasts, _decided(settings, policies, pasts), strict=True):
            one = Replayed(past, decision)
            changed += [one] if one.changes else []
        replayed += len(pasts)
        progress("promotions", replayed, max(of, replayed))
    return Simulation(replayed, tuple(changed), tuple({policy.digest(): policy for policy in policies.values()}.values()))


def _pages(settings: Settings, which: Which) -> Iterator[tuple[int, list[Past]]]:
    with database.autocommit(settings) as connection:
        of = past_promotions.number(connection, which)
    after = (_BEGINNING, UUID(int=0))
    while True:
        with database.autocommit(settings) as connection:
            pasts = list(past_promotions.page(connection, which, after, _AT_ONCE))
        if not pasts:
            return
        yield of, pasts
        after = (pasts[-1].created_at, pasts[-1].id)


def _decided(settings: Settings, policies: dict[tuple[str, str], Policy], pasts: list[Past]) -> list[Decision]:
    asked = []
    for past in pasts:
        place = (past.case.environment, past.case.artifact.model)
        asked.append((policies.get(place) or policies.setdefault(place, files.load(settings, *place)), past.case))
    return [answer.decision for answer in deciding.ask_policies(settings, asked)]
