"""Promotions that wait for people, looked after beside everything else: nobody may come who would notice that their time is over.

Who asks, approves or withdraws carries a promotion on at once (`promoting.go_on`); here is what only time does, and what a process that
was killed left undone.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Event

from aiinfra_core import database, promoting, threads
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.errors import AiInfraError, Unavailable
from aiinfra_core.registry import approvals
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""A promotion that waited too long is told to have expired so late."""


def go_on(settings: Settings) -> list[Promotion]:
    """End the promotions that waited too long or were overtaken, apply those that nobody is missing for, and return what became of them.

    One that cannot be carried on now is logged and left for the next time.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.autocommit(settings) as connection:
        waiting = approvals.unsettled(connection, datetime.now(UTC))
    moved = []
    for promotion_id in waiting:
        try:
            promotion = promoting.go_on(settings, promotion_id)
        except AiInfraError as error:
            if isinstance(error, Unavailable) and error.part == "database":
                raise
            logger.warning("Promotion %s waits, and cannot be carried on now: %s", promotion_id, error)
        else:
            if promotion.status is not PromotionStatus.PENDING_APPROVAL:
                moved.append(promotion)
    return moved


@contextmanager
def in_thread(settings: Settings) -> Iterator[None]:
    """Do so every `LOOK_SECONDS` in a thread of this process while the block runs."""
    with threads.beside("waiting-promotions", partial(_until, settings)):
        yield


def _until(settings: Settings, stop: Event) -> None:
    said = ""
    while not stop.wait(LOOK_SECONDS):
        try:
            go_on(settings)
            said = ""
        except AiInfraError as error:
            if str(error) != said:
                logger.warning("Promotions that wait for people are not looked after: %s", error)
            said = str(error)
        except Exception:
            logger.exception("Something unexpected happened while promotions that wait for people were looked after")
