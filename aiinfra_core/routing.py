"""The signed document that says where the traffic of a model in an environment goes: made on demand from the rows, never stored.

It counts for `routing_seconds` and is made anew after half of that; every worker of a service makes the same one in the same half.
What its reader checks is in `evidence.routing`, and is checked here too before it is handed out. It believes no row by itself: what the
rows say of a rollout has to follow from what was signed, and a rollout that nobody judges any more has no traffic until somebody does.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from aiinfra_core import checksums, database
from aiinfra_core.canary.watching import unwatched
from aiinfra_core.domain.promotion import Pointer
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import EvidenceBroken, NotFound, Unavailable
from aiinfra_core.evidence import dsse, rollouts
from aiinfra_core.evidence.rollouts import Split
from aiinfra_core.evidence.routing import bundle, check
from aiinfra_core.keys import configured_signer, trust_of
from aiinfra_core.registry import dossier, traffic
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.traffic import Shared, Traffic
from aiinfra_core.settings import Settings, environment_named

logger = logging.getLogger(__name__)

_MOST_KEPT = 4096
_ETAG_LETTERS = 32
_Place = tuple[str, str, str]


@dataclass(frozen=True)
class Routed:
    """A routing and its manifests as they are sent, and the ETag of these bytes."""

    bundle: bytes
    etag: str


@dataclass(frozen=True)
class _Says:
    """What a routing is made of; `unwatched` is why the champion has all traffic though a rollout is open."""

    pointer: Pointer
    unwatched: str | None


@dataclass(frozen=True)
class _Made:
    says: _Says
    issued_at: datetime
    expires_at: datetime
    routed: Routed


_made: dict[_Place, _Made] = {}
_keeping = Lock()


def routing_of(settings: Settings, environment: str, model: str, at: datetime | None = None) -> Routed:
    """Return where the traffic of a model in an environment goes, signed; `at` is now by the database's clock, where it is not given.

    Raises:
        NotFound: there is no such environment, or nothing is current there.
        EvidenceBroken: what is recorded does not follow from what was signed, or does not pass what readers of a routing check.
        Misconfigured, Unavailable: there is no signer whose signature counts, or it does not answer; the database is gone.
    """
    environment = environment_named(settings, environment)
    place = _place(settings, environment, model)
    with database.autocommit(settings) as connection:
        found = _current(traffic.of_model(connection, environment, model), environment, model)
    now, known = at or found.at, _made.get(place)
    says, (issued_at, _) = _says(found, now), _window(settings, found.pointer, now)
    if known is not None and (known.says, known.issued_at) == (says, issued_at):
        return known.routed
    try:
        made = _make(settings, environment, model, at)
    except Unavailable:
        # One that says the same and still counts is worth more than none; its reader sees when it expires.
        if known is not None and known.says == says and now < known.expires_at:
            return known.routed
        raise
    _keep(place, made)
    return made.routed


def _make(settings: Settings, environment: str, model: str, at: datetime | None) -> _Made:
    with database.snapshot(settings) as tx:
        found = _current(traffic.of_model(tx, environment, model), environment, model)
        champion, shared = dossier.of_promotion(tx, found.pointer.promotion_id), traffic.shared(tx, found.pointer)
    pointer, now = found.pointer, at or found.at
    says, (issued_at, expires_at) = _says(found, now), _window(settings, pointer, now)
    if shared is not None:
        traffic.check(pointer, champion, shared)
    payload = rollouts.routing(
        environment=environment,
        sequence=pointer.sequence,
        changes=pointer.changes or 0,
        champion=(champion.artifact, _manifest(champion)[0]),
        challenger=None if shared is None else (shared.challenger.artifact, _manifest(shared.challenger)[0]),
        split=None if shared is None else _split(shared, says),
        issued_at=issued_at,
        expires_at=expires_at,
    )
    envelope = dsse.sign(payload, configured_signer(settings, Purpose.PROMOTION, environment))
    arms = (champion,) if shared is None else (champion, shared.challenger)
    data = bundle(envelope, dict(_manifest(one) for one in arms))
    check(data, trust_of(settings), environment=environment, model=model, now=now)
    return _Made(says, issued_at, expires_at, Routed(data, checksums.sha256_hex(data)[:_ETAG_LETTERS]))


def _says(found: Traffic, now: datetime) -> _Says:
    watched = found.watched
    if watched is None:
        return _Says(found.pointer, None)
    return _Says(found.pointer, unwatched(watched.spec, created_at=watched.created_at, looked_at=watched.looked_at, at=now))


def _keep(place: _Place, made: _Made) -> None:
    with _keeping:
        before = _made.get(place)
        if len(_made) >= _MOST_KEPT:
            _made.clear()
        _made[place] = made
    _tell_of(made.says, None if before is None else before.says)


def _tell_of(says: _Says, before: _Says | None) -> None:
    """Log once when traffic goes to the champion alone for as long as nobody judges, and when it is shared again."""
    pointer, known = says.pointer, None if before is None else before.unwatched
    where = f"Rollout {pointer.rollout_id} of {pointer.model} in {pointer.environment}"
    if says.unwatched is not None and says.unwatched != known:
        logger.warning("%s is judged by nobody: %s. The champion has all traffic until it is looked at again.", where, says.unwatched)
    elif says.unwatched is None and before is not None and known and before.pointer.rollout_id == pointer.rollout_id:
        logger.warning("%s is looked at again, and its challenger has its share of the traffic.", where)


def _window(settings: Settings, pointer: Pointer, now: datetime) -> tuple[datetime, datetime]:
    """Return from when until when a routing that is made now counts: the same for whoever makes it in this half of its time."""
    half = settings.routing_seconds / 2
    start = datetime.fromtimestamp(now.timestamp() // half * half, UTC)
    moved = pointer.updated_at if pointer.updated_at <= now else start  # whose clock was ahead when it moved stops no routing
    return max(start, moved), start + timedelta(seconds=settings.routing_seconds)


def _split(shared: Shared, says: _Says) -> Split:
    rollout = shared.rollout
    weight = rollout.weight if says.unwatched is None else 0
    return Split(rollout.id, rollout.step, weight, rollout.salt, rollout.spec.unit)


def _manifest(known: Dossier) -> tuple[str, bytes]:
    if known.promotion.manifest is None or known.manifest_envelope is None:
        raise EvidenceBroken("manifest", f"promotion {known.promotion.id} has none; find out who changed it.")
    return known.promotion.manifest, known.manifest_envelope


def _current(found: Traffic | None, environment: str, model: str) -> Traffic:
    if found is None:
        raise NotFound(
            f"Nothing is current for {model} in {environment}; promote a version with: aiinfra promote {model} --to {environment}"
        )
    return found


def _place(settings: Settings, environment: str, model: str) -> _Place:
    return settings.database_url.get_secret_value() if settings.database_url else "", environment, model
