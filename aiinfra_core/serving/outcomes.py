"""What came of requests, counted here and reported in batches: each batch is named once, kept on disk, and sent until it is answered.

The service counts a batch once, however often it comes, so that no kill and no lost answer counts an outcome twice. A request counts from
the moment somebody is chosen for it: with no outcome within `answer_seconds`, or by the end of its process however that came, it failed.
What was reported since the last batch was made is lost with a process that is killed: about a poll's worth.
"""

import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from threading import Lock
from time import monotonic
from uuid import UUID, uuid4, uuid5

from aiinfra_core.domain.latency import MOST_BIN, bin_of
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.errors import AiInfraError, BadInput, Unavailable
from aiinfra_core.serving import ledger
from aiinfra_core.serving.choosing import Chosen
from aiinfra_core.serving.ledger import Ledger, Left
from aiinfra_core.serving.outbox import Batch, Outbox, Send
from aiinfra_core.wire.observations import MOST_OBSERVED, AskedObservations, ObservedCounts, ObservedUser

logger = logging.getLogger(__name__)
QUIET_SECONDS = 30.0
"""After so long without a request it is said that there was none; a rollout that hears nothing would end as inconclusive."""
ANSWER_SECONDS = 60.0

_Of = tuple[UUID, int]
_OF_LEDGERS = UUID("0d5c4be1-3f0e-4e0b-9a52-6c1f7a1f2b90")


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


@dataclass(frozen=True, slots=True)
class _Awaited:
    chosen: Chosen
    due: float
    slot: int | None


class Outcomes:
    """The outcomes of one model in one environment; threads may share it."""

    def __init__(self, folder: Path, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Take up what an earlier process left in the folder unsent.

        Raises:
            BadInput: `answer_seconds` is no time.
        """
        if not 0 < answer_seconds < math.inf:
            raise BadInput("answer_seconds must say within how many seconds each request has its answer, more than 0.")
        self._folder = folder
        self._lock, self._taking, self.outbox = Lock(), Lock(), Outbox(folder)
        self._steps: dict[_Of, _Step] = {}
        self._sealed_at = monotonic()
        self._answer_seconds, self._odd_time_told = answer_seconds, False
        self._awaited: dict[int, _Awaited] = {}  # by id, in the order they are due
        self._ledger: Ledger | None = None
        self.problem: str | None = None
        self.unanswered = 0
        self.unrecorded: str | None = None

    def expect(self, chosen: Chosen) -> None:
        """Count a request from now on: it failed unless its outcome comes in time."""
        if chosen.rollout_id is None:
            return
        with self._lock:
            own = self._ledger
            slot = None if own is None else own.enter(chosen.rollout_id, chosen.step, chosen.arm, chosen.unit)
            self._awaited[id(chosen)] = _Awaited(chosen, monotonic() + self._answer_seconds, slot)

    def count(self, chosen: Chosen, *, failed: bool, seconds: float | None, wrong: bool | None) -> bool:
        """Count the outcome of a request that is awaited, once; return whether it counts for a rollout."""
        slowness = None if seconds is None else self._slowness(seconds)
        with self._lock:
            return self._count(chosen, failed, slowness, wrong)

    def report(self, send: Send, quiet: tuple[UUID, int] | None) -> None:
        """Send what was counted, what was not answered in time and what processes that are gone left, as far as it is taken.

        `problem` says why it was not.
        """
        self.take_over()
        self.expire()
        try:
            self.seal(quiet)
            self.outbox.send(send)
            self.problem = self.unrecorded
        except AiInfraError as error:
            if self.problem != str(error):
                logger.warning("Outcomes in %s wait: %s", self._folder, error)
            self.problem = str(error)

    def take_over(self) -> None:
        """Write down from now on what is open, and count as failed what processes that are gone left open.

        `unrecorded` says why that cannot be done, if it cannot.
        """
        try:
            with self._taking:
                self._ledger = own = self._ledger or Ledger(self._folder, _reporter())
                for path in set(self._folder.glob(ledger.PATTERN)) - {own.path}:
                    ledger.take(path, self._adopt)
            self.unrecorded = None
        except Unavailable as error:
            if self.unrecorded != str(error):
                logger.warning("%s", error)
            self.unrecorded = str(error)

    def close(self) -> None:
        """Write down no longer what is open."""
        with self._lock:
            own, self._ledger = self._ledger, None
            if own is not None:
                self._awaited = {key: replace(one, slot=None) for key, one in self._awaited.items()}
                own.close()

    def label(self, chosen: Chosen, *, wrong: bool) -> bool:
        """Count whether the answer to a request proved wrong; return whether it counts for a rollout."""
        with self._lock:
            if chosen.rollout_id is None:
                return False
            _label(self._steps.setdefault((chosen.rollout_id, chosen.step), _Step()), chosen, wrong)
        return True

    def expire(self, now: float | None = None) -> None:
        """Count as failed, and as slower than anything, each request whose outcome has not come in time; `now` is monotonic, in seconds."""
        with self._lock:
            moment = monotonic() if now is None else now
            late = [one.chosen for one in takewhile(lambda one: one.due <= moment, self._awaited.values())]
            for chosen in late:
                self._count(chosen, failed=True, slowness=MOST_BIN)
            self.unanswered += len(late)
        if late:
            logger.warning("%d requests had no outcome in time and count as failed (%s).", len(late), self._folder)

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
        self.outbox.put(_batches(steps, _reporter(), lambda _: uuid4()))

    def _count(self, chosen: Chosen, failed: bool, slowness: int | None, wrong: bool | None = None) -> bool:
        awaited = self._awaited.pop(id(chosen), None)
        if awaited is None or chosen.rollout_id is None:
            return False
        if self._ledger is not None and awaited.slot is not None:
            self._ledger.leave(awaited.slot)
        step = self._steps.setdefault((chosen.rollout_id, chosen.step), _Step())
        _observe(step, chosen.arm, chosen.unit, failed, slowness)
        _label(step, chosen, wrong)
        return True

    # The batches have names made of the ledger's: those that were made before a kill and are made again count once.
    def _adopt(self, left: Left) -> None:
        steps: dict[_Of, _Step] = {}
        for one in left.open:
            _observe(steps.setdefault((one.rollout_id, one.step), _Step()), one.arm, one.user, failed=True, slowness=None)
        self.outbox.put(_batches(steps, left.reporter, lambda part: uuid5(_OF_LEDGERS, f"{left.name} {part}")))
        self.unanswered += len(left.open)
        if left.open:
            logger.warning("%s ended with %d requests open, which count as failed.", left.reporter, len(left.open))

    def _slowness(self, seconds: float) -> int:
        if not 0 <= seconds < math.inf and not self._odd_time_told:
            self._odd_time_told = True
            logger.warning("A request was reported to have taken %s seconds; such times count as slower than any other.", seconds)
        return bin_of(seconds)


def _reporter() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[:200]  # asked each time: a process may have forked since it was told


def _observe(step: _Step, arm: Arm, unit: str | None, failed: bool, slowness: int | None) -> None:
    if unit is not None:
        user = step.users.setdefault(unit, _User(arm))
        user.failed, user.slowest = user.failed or failed, _slower(user.slowest, slowness)
        return
    counted = step.counts.setdefault(arm, _Counted())
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
        if not user.labelled:  # the first label counts: who has more of them is not the more often wrong for it
            user.labelled, user.wrong = True, wrong


def _slower(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)


def _batches(steps: Mapping[_Of, _Step], reporter: str, name: Callable[[str], UUID]) -> Iterator[Batch]:
    for (rollout_id, step), seen in steps.items():
        if seen.counts or not seen.users:
            named = name(f"{rollout_id} {step}")
            yield rollout_id, AskedObservations(batch=named, reporter=reporter, step=step, counts=_counts(seen))
        users = _users(seen)
        for start in range(0, len(users), MOST_OBSERVED):
            named, some = name(f"{rollout_id} {step} {start}"), users[start : start + MOST_OBSERVED]
            yield rollout_id, AskedObservations(batch=named, reporter=reporter, step=step, users=some)


def _counts(seen: _Step) -> tuple[ObservedCounts, ...]:
    return tuple(
        ObservedCounts(arm=arm, units=one.units, errors=one.errors, labelled=one.labelled, wrong=one.wrong, latency=one.latency)
        for arm, one in seen.counts.items()
    )


def _users(seen: _Step) -> tuple[ObservedUser, ...]:
    return tuple(
        ObservedUser(user=user, arm=one.arm, failed=one.failed, labelled=one.labelled, wrong=one.wrong, slowest=one.slowest)
        for user, one in seen.users.items()
    )
