"""Rollouts looked at beside everything else a service does, so that a bad challenger goes back where no flow is scheduled.

Of several processes one does it; where two do all the same, of their looks one counts. Nobody waits for another's look: those for which
others are asked have threads of their own, and one that could not be looked at is left alone for as long as its looks are apart.
"""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from uuid import UUID

from aiinfra_core import database, rolling_out, threads
from aiinfra_core.domain.rollout import Rollout
from aiinfra_core.errors import AiInfraError
from aiinfra_core.rolling_out import hearing
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""A look is so much later than it is due."""
_LOCK = 0x524F4C4C  # "ROLL"
_Waiting = dict[UUID, float]
"""Rollouts that are not to be looked at before a time of the monotonic clock: never, while they are."""


@contextmanager
def in_threads(settings: Settings) -> Iterator[None]:
    """Look at what is due in threads of this process while the block runs."""
    with threads.beside("rollouts", partial(_until, settings)):
        yield


def _until(settings: Settings, stop: Event) -> None:
    said = ""
    waiting: _Waiting = {}
    pools = {asks: ThreadPoolExecutor(rolling_out.AT_ONCE, thread_name_prefix="looks") for asks in (False, True)}
    while not stop.wait(POLL_SECONDS):
        try:
            with database.lock_of_process(settings, _LOCK) as mine:
                while mine and not stop.is_set():
                    for rollout in _to_look_at(settings, waiting):
                        pools[hearing.asks_others(rollout)].submit(_look, settings, rollout, waiting)
                    said = ""
                    stop.wait(POLL_SECONDS)
        except AiInfraError as error:
            if str(error) != said:
                logger.warning("Rollouts are not looked at: %s", error)
            said = str(error)
        except Exception:
            logger.exception("Something unexpected happened while rollouts were looked at")
    for pool in pools.values():
        pool.shutdown(cancel_futures=True)


def _to_look_at(settings: Settings, waiting: _Waiting) -> list[Rollout]:
    """Return what is due and not waiting; it waits from now on."""
    for known in [one for one, until in list(waiting.items()) if until <= time.monotonic()]:
        del waiting[known]
    due = [one for one in rolling_out.due(settings) if one.id not in waiting]
    waiting.update({one.id: math.inf for one in due})
    return due


def _look(settings: Settings, rollout: Rollout, waiting: _Waiting) -> None:
    again = 0.0
    try:
        rolling_out.look_at(settings, rollout.id)
    except AiInfraError as error:
        logger.warning("Rollout %s goes on as it is, and cannot be looked at now: %s", rollout.id, error)
        again = rollout.spec.look_seconds
    except Exception:
        logger.exception("Something unexpected happened while rollout %s was looked at", rollout.id)
        again = rollout.spec.look_seconds
    finally:
        waiting[rollout.id] = time.monotonic() + again
