"""Whether this service can do its work now: each part is looked at in a thread, remembered a while and never waited for long.

Who may not be told why: the reason is in the log, since readiness is asked for by anybody.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aiinfra_core import artifact_store, database, migrate
from aiinfra_core.errors import AiInfraError, Misconfigured
from aiinfra_core.keys import SIGNED_HERE, configured_signer
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import sign_verified

logger = logging.getLogger(__name__)

OK = "ok"
WAIT_SECONDS = 4.0
"""An answer takes no longer than this, whatever hangs."""
_ATTEMPT_SECONDS = 3
_AGAIN_SECONDS = 1.0  # after a no


class Readiness:
    """What was last found out about each part."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(len(_PARTS), thread_name_prefix="readiness")
        self._found: dict[str, tuple[str, float]] = {}  # and until when that is believed
        self._looking: dict[str, Future[str]] = {}

    async def parts(self) -> dict[str, str]:
        """Return for each part `ok` or in a few words that it is not."""
        now = time.monotonic()
        asked = {name: self._look(name) for name in _PARTS if self._found.get(name, ("", 0.0))[1] <= now}
        if asked:
            await asyncio.wait([asyncio.wrap_future(one) for one in asked.values()], timeout=WAIT_SECONDS)
        for name, looking in asked.items():
            if looking.done():
                self._looking.pop(name, None)
                self._remember(name, looking.result())
            else:
                self._remember(name, f"no answer within {WAIT_SECONDS:g} s")
        return {name: self._found[name][0] for name in _PARTS}

    def _look(self, name: str) -> Future[str]:
        if name not in self._looking:
            self._looking[name] = self._pool.submit(_looked, self._settings, name)
        return self._looking[name]

    def _remember(self, name: str, found: str) -> None:
        before = self._found.get(name, (OK, 0.0))[0]
        if OK in (found, before) and found != before:
            logger.log(logging.INFO if found == OK else logging.ERROR, "Readiness of the %s: %s", name, found)
        self._found[name] = (found, time.monotonic() + (_PARTS[name][1] if found == OK else _AGAIN_SECONDS))


def _looked(settings: Settings, name: str) -> str:
    try:
        _PARTS[name][0](settings)
    except AiInfraError as error:
        logger.warning("The %s is not ready: %s", name, error)
        return "misconfigured; the log says how" if isinstance(error, Misconfigured) else "unavailable; the log says why"
    except Exception:
        logger.exception("The %s could not be looked at.", name)
        return "unavailable; the log says why"
    return OK


def _database(settings: Settings) -> None:
    migrate.differences(database.url(settings), _ATTEMPT_SECONDS)


def _migrations(settings: Settings) -> None:
    missing, unknown = migrate.differences(database.url(settings), _ATTEMPT_SECONDS)
    if missing:
        raise Misconfigured(f"The database lacks {', '.join(missing)}; type: aiinfra migrate")
    if unknown:
        raise Misconfigured(f"The database was migrated by a newer release ({', '.join(unknown)}); update this one.")


def _signer(settings: Settings) -> None:
    for signer in {configured_signer(settings, purpose) for purpose in SIGNED_HERE}:
        sign_verified(signer, f"ai-infra: a test of a key for readiness, it states nothing: {secrets.token_hex(16)}".encode())


def _store(settings: Settings) -> None:
    artifact_store.check(artifact_store.location(settings))


# How each is looked at, and for how many seconds a yes is believed.
_PARTS: dict[str, tuple[Callable[[Settings], None], float]] = {
    "database": (_database, 2.0),
    "migrations": (_migrations, 5.0),
    "signer": (_signer, 30.0),
    "store": (_store, 10.0),
}
