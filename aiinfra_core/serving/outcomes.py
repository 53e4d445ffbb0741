"""What came of requests, counted here and reported in batches: each batch is named once, kept on disk, and sent until it is answered.

The service counts a batch once, however often it comes, so that no kill and no lost answer counts an outcome twice. What was counted
since the last batch was made is lost with the process: about a poll's worth, of both arms alike.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic
from uuid import UUID, uuid4

from aiinfra_core.domain.latency import bin_of
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.errors import AiInfraError, NotAllowed, TooManyRequests, Unavailable
from aiinfra_core.serving import kept
from aiinfra_core.serving.choosing import Chosen
from aiinfra_core.wire.observations import MOST_OBSERVED, AskedObservations, ObservedCounts, ObservedUser

logger = logging.getLogger(__name__)
MOST_WAITING = 1000
"""How many batches wait for the service at most; the oldest are given up first."""
QUIET_SECONDS = 30.0
"""After so long without a request it is said that there was none; a rollout that hears nothing would end as inconclusive."""

Send = Callable[[UUID, AskedObservations], object]
_Of = tuple[UUID, int]


@dataclass(slots=True)
class _Counted:
    units: int = 0
    errors: int = 0
    labelled: int = 0
    wrong: int = 0
    latency: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _User:
    arm: Arm
    failed: bool = False
    labelled: bool = False
    wrong: bool = False
    slowest: int | None = None


@dataclass(slots=True)
class _Step:
    """What was observed of one step of a rollout since its last batch."""

    counts: dict[Arm, _Counted] = field(default_factory=dict)
    users: dict[str, _User] = field(default_factory=dict)


class Outcomes:
    """The outcomes of one model in one environment; threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Take up what an earlier process left in the folder unsent."""
        self._folder, self._reporter = folder, f"{socket.gethostname()}:{os.getpid()}"[:200]
        self._lock, self._sending = Lock(), Lock()
        self._steps: dict[_Of, _Step] = {}
        self._waiting = dict(_left_in(folder))
        self._sealed_at = monotonic()
        self.given_up = 0

    @property
    def waiting(self) -> int:
        """How many batches have not been answered yet."""
        return len(self._waiting)

    def count(self, chosen: Chosen, *, failed: bool, seconds: float | None, wrong: bool | None) -> bool:
        """Count the outcome of a request, once; return whether it counts for a rollout."""
        slowness = None if seconds is None else bin_of(seconds)
        with self._lock:
            if chosen.rollout_id is None or not chosen.awaited:
                return False
            chosen.awaited = False
            step = self._steps.setdefault((chosen.rollout_id, chosen.step), _Step())
            if chosen.unit is None:
                _count(step.counts.setdefault(chosen.arm, _Counted()), failed, slowness)
            else:
                user = step.users.setdefault(chosen.unit, _User(chosen.arm))
                user.failed, user.slowest = user.failed or failed, _slower(user.slowest, slowness)
            _label(step, chosen, wrong)
        return True

    def label(self, chosen: Chosen, *, wrong: bool) -> bool:
        """Count whether the answer to a request proved wrong; return whether it counts for a rollout."""
        with self._lock:
            if chosen.rollout_id is None:
                return False
            _label(self._steps.setdefault((chosen.rollout_id, chosen.step), _Step()), chosen, wrong)
        return True

    def seal(self, quiet: tuple[UUID, int] | None = None) -> None:
        """Make batches of what was counted since the last time.

        `quiet` is the rollout and step that is open: where nothing was counted for `QUIET_SECONDS`, a batch of nothing says that nobody
        asked, and that whoever reports is there.

        Raises:
            Unavailable: the disk cannot be written to; they are only in memory then.
        """
        with self._lock:
            steps, self._steps = self._steps, {}
        if not steps and quiet is not None and monotonic() - self._sealed_at >= QUIET_SECONDS:
            steps = {quiet: _Step()}
        if steps:
            self._sealed_at = monotonic()
        made = {batch.batch: (of[0], batch) for of, step in steps.items() for batch in _batches(of[1], step, self._reporter)}
        with self._sending:
            self._waiting |= made
            self._give_up(list(self._waiting)[: max(0, len(self._waiting) - MOST_WAITING)])
            for rollout_id, batch in made.values():
                kept.write(self._path(rollout_id, batch.batch), batch.model_dump_json(by_alias=True).encode())

    def send(self, send: Send) -> None:
        """Send what waits, the oldest first, until the service does not answer; what it refuses for good is given up.

        Raises:
            Unavailable, TooManyRequests, NotAllowed: it did not answer, or does not let us in; what is left waits.
        """
        with self._sending:
            for batch_id, (rollout_id, batch) in list(self._waiting.items()):
                try:
                    send(rollout_id, batch)
                except (Unavailable, TooManyRequests, NotAllowed):
                    raise
                except AiInfraError as error:
                    logger.warning("A batch of outcomes was refused: %s", error)
                    self._give_up([batch_id])
                else:
                    self._forget(batch_id)

    def _give_up(self, batches: Iterable[UUID]) -> None:
        for batch_id in batches:
            self.given_up += 1
            self._forget(batch_id)

    def _forget(self, batch_id: UUID) -> None:
        rollout_id, _ = self._waiting.pop(batch_id)
        with suppress(OSError):
            self._path(rollout_id, batch_id).unlink(missing_ok=True)

    def _path(self, rollout_id: UUID, batch_id: UUID) -> Path:
        return self._folder / f"{rollout_id}.{batch_id}.json"


def _count(counted: _Counted, failed: bool, slowness: int | None) -> None:
    counted.units += 1
    counted.errors += failed
    if slowness is not None:
        counted.latency[slowness] = counted.latency.get(slowness, 0) + 1


def _label(step: _Step, chosen: Chosen, wrong: bool | None) -> None:
    if wrong is None:
        return
    if chosen.unit is None:
        counted = step.counts.setdefault(chosen.arm, _Counted())
        counted.labelled, counted.wrong = counted.labelled + 1, counted.wrong + wrong
    else:
        user = step.users.setdefault(chosen.unit, _User(chosen.arm))
        user.labelled, user.wrong = True, user.wrong or wrong


def _slower(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)


def _batches(step: int, seen: _Step, reporter: str) -> Iterator[AskedObservations]:
    if seen.counts or not seen.users:
        counts = tuple(
            ObservedCounts(arm=arm, units=one.units, errors=one.errors, labelled=one.labelled, wrong=one.wrong, latency=one.latency)
            for arm, one in seen.counts.items()
        )
        yield AskedObservations(batch=uuid4(), reporter=reporter, step=step, counts=counts)
    users = tuple(
        ObservedUser(user=user, arm=one.arm, failed=one.failed, labelled=one.labelled, wrong=one.wrong, slowest=one.slowest)
        for user, one in seen.users.items()
    )
    for start in range(0, len(users), MOST_OBSERVED):
        yield AskedObservations(batch=uuid4(), reporter=reporter, step=step, users=users[start : start + MOST_OBSERVED])


def _left_in(folder: Path) -> Iterator[tuple[UUID, tuple[UUID, AskedObservations]]]:
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            rollout_id, batch = UUID(path.name.partition(".")[0]), AskedObservations.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            logger.warning("%s holds no outcomes; remove it.", path)
        else:
            yield batch.batch, (rollout_id, batch)
