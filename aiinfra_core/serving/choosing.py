"""Which arm a unit goes to, pure: a salt spreads units evenly, and the same unit always falls on the same place.

So a weight that rises only ever sends more of them to the challenger, and every process decides alike.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import getrandbits
from uuid import UUID

from aiinfra_core.domain.rollout import Arm
from aiinfra_core.domain.rollout_spec import WHOLE, Unit
from aiinfra_core.evidence.rollout_predicates import Routing

_PLACES = 2**64


@dataclass(frozen=True, slots=True)
class Served:
    """A version whose bytes at `path`, a file or a directory, were verified on this machine."""

    arm: Arm
    model: str
    version: int
    artifact_id: str
    checksum: str
    path: Path


@dataclass(slots=True)
class Chosen:
    """Who answers one request. `rollout_id`, `step` and `unit` (its digest) are there where the outcome counts for a rollout."""

    served: Served
    rollout_id: UUID | None = None
    step: int = 0
    unit: str | None = None
    """The first 16 hex digits of SHA-256(salt, user), where users are counted."""

    @property
    def path(self) -> Path:
        """Where the verified bytes are."""
        return self.served.path

    @property
    def arm(self) -> Arm:
        """Whether it is the champion or the challenger."""
        return self.served.arm


@dataclass(frozen=True, slots=True)
class Shared:
    """How traffic is shared with a challenger, until `expires_at`; `below` is the first place that is the champion's."""

    challenger: Served
    rollout_id: UUID
    step: int
    unit: Unit
    salted: "hashlib._Hash"
    below: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Table:
    """All that choosing needs to know; `shared` is None where the champion has all traffic."""

    champion: Served
    shared: Shared | None

    def alone(self) -> "Table":
        """Return the table with the champion alone."""
        return replace(self, shared=None)


def shared(routing: Routing, challenger: Served) -> Shared:
    """Return how a checked routing shares traffic with its challenger."""
    return Shared(
        challenger=challenger,
        rollout_id=UUID(routing.rollout_id),
        step=routing.step or 0,
        unit=Unit(routing.unit or Unit.REQUEST),
        salted=hashlib.sha256((routing.salt or "").encode()),
        below=-(-routing.weight * _PLACES // WHOLE),
        expires_at=datetime.fromisoformat(routing.expires_at),
    )


def choose(table: Table, unit: str | None, now: datetime) -> Chosen:
    """Return who answers a unit's request.

    It is the champion, uncounted, after the routing expired or where it gives the challenger nothing (nobody watches a challenger then),
    and for a request that names no user where users are what is shared. A request of its own needs no name: it falls on a place at random.
    """
    how = table.shared
    if how is None or not how.below or now >= how.expires_at or (unit is None and how.unit is Unit.USER):
        return Chosen(table.champion)
    if unit is None:
        place, digest = getrandbits(64), None
    else:
        hashed = how.salted.copy()
        hashed.update(unit.encode(errors="surrogatepass"))
        first = hashed.digest()[:8]
        place, digest = int.from_bytes(first), first.hex()
    served = how.challenger if place < how.below else table.champion
    return Chosen(served, how.rollout_id, how.step, digest if how.unit is Unit.USER else None)
