"""Batches of outcomes on their way: each is on disk before it is sent, and sent until it is answered."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from uuid import UUID

from aiinfra_core.errors import AiInfraError, NotAllowed, TooManyRequests, Unavailable
from aiinfra_core.serving import kept
from aiinfra_core.wire.observations import AskedObservations

logger = logging.getLogger(__name__)
MOST_WAITING = 1000
"""How many batches wait for the service at most; the oldest are given up first."""

Send = Callable[[UUID, AskedObservations], object]
Batch = tuple[UUID, AskedObservations]
"""A batch, after the rollout it is of."""


class Outbox:
    """The batches of one model in one environment; threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Take up what an earlier process left in the folder unsent."""
        self._folder, self._sending = folder, Lock()
        self._waiting = {batch.batch: (rollout_id, batch) for rollout_id, batch in _left_in(folder)}
        self.given_up = 0

    @property
    def waiting(self) -> int:
        """How many batches have not been answered yet."""
        return len(self._waiting)

    def put(self, batches: Iterable[Batch]) -> None:
        """Put batches on disk, to be sent.

        Raises:
            Unavailable: the disk cannot be written to; they are only in memory then.
        """
        made = {batch.batch: (rollout_id, batch) for rollout_id, batch in batches}
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


def _left_in(folder: Path) -> Iterator[Batch]:
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            yield UUID(path.name.partition(".")[0]), AskedObservations.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            logger.warning("%s holds no outcomes; remove it.", path)
