"""Keep the signed chain and its published checkpoint close behind what happens; called after every write.

A process that writes for long publishes a checkpoint every `checkpoint_seconds`; one that ends, at its end (`at_the_end`). In a served
process (`in_background`) a write only rings for the threads that do both, which live in `looking_after`. How a checkpoint is made lives
in `checkpoints`, the chain in `sequence`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiinfra_core import database
from aiinfra_core.audit_log.checkpoints import checkpoint
from aiinfra_core.audit_log.sequence import sequence_quietly
from aiinfra_core.errors import EvidenceBroken, Misconfigured, Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

_looked: dict[str, float] = {}  # database -> when this process last published, or began to write there
_written: dict[str, Settings] = {}
_rings: dict[str, Callable[[], None]] = {}  # database -> what calls the threads of this process that look after its log


def keep_up(settings: Settings) -> None:
    """Chain what waits and, when this process has not done so for `checkpoint_seconds`, publish a checkpoint if there are new events.

    What cannot be done now is logged and left for the next call: what the caller wrote is written.
    """
    url, now = database.url(settings), time.monotonic()
    if ring := _rings.get(url):
        return ring()
    sequence_quietly(settings, audit_signer)
    _written[url] = settings
    if now - _looked.setdefault(url, now) >= settings.checkpoint_seconds:
        _looked[url] = now
        try:
            checkpoint_quietly(settings, wait=False)
        except (EvidenceBroken, Misconfigured) as error:
            logger.error("No checkpoint could be published: %s", error)  # noqa: TRY400 - the message says it all
    return None


@contextmanager
def in_background(settings: Settings) -> Iterator[None]:
    """Let two threads of this process keep the log chained, published and delivered; meanwhile `keep_up` only rings for them.

    What cannot be done is logged and tried again. At the end what was written is chained and published.
    """
    from aiinfra_core.audit_log import looking_after  # it knows every kind of sink: only where it is used

    url = database.url(settings)
    with looking_after.in_threads(settings) as _rings[url]:
        try:
            yield
        finally:
            _rings.pop(url, None)
    try:
        publish(settings)
    except (EvidenceBroken, Misconfigured) as error:
        logger.error("No checkpoint could be published: %s", error)  # noqa: TRY400 - as above


def publish(settings: Settings) -> None:
    """Chain what waits and publish a checkpoint now, if there are new events; what cannot be reached is logged and left.

    Raises:
        EvidenceBroken, Misconfigured: as `checkpoints.checkpoint`.
    """
    _written.pop(database.url(settings), None)
    sequence_quietly(settings, audit_signer)
    checkpoint_quietly(settings, wait=True)


def at_the_end() -> None:
    """Publish what this process wrote to the databases it is still connected to.

    Raises:
        EvidenceBroken, Misconfigured: as `checkpoints.checkpoint`.
    """
    for settings in list(_written.values()):
        if database.in_use(settings):
            publish(settings)


def checkpoint_quietly(settings: Settings, *, wait: bool) -> None:
    """Publish a checkpoint if there are new events; when a part cannot be reached, log it and leave them for the next call.

    Raises:
        EvidenceBroken, Misconfigured: as `checkpoints.checkpoint`.
    """
    try:
        checkpoint(settings, audit_signer(settings), wait=wait)
    except Unavailable as error:
        logger.warning("The newest audit events have no checkpoint yet: %s", error)
