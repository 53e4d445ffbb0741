"""The signed document that says where the traffic of a model in an environment goes: made on demand from the rows, never stored.

It counts for `routing_seconds` and is made anew after half of that; every worker of a service makes the same one in the same half.
What its reader checks is in `evidence.routing`, and is checked here too before it is handed out.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiinfra_core import checksums, database
from aiinfra_core.domain.promotion import Pointer
from aiinfra_core.domain.rollout import OPEN, Rollout
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import EvidenceBroken, NotFound, Unavailable
from aiinfra_core.evidence import dsse, rollouts
from aiinfra_core.evidence.rollouts import Split
from aiinfra_core.evidence.routing import bundle, check
from aiinfra_core.keys import configured_signer, trust_of
from aiinfra_core.registry import dossier, promotions
from aiinfra_core.registry import rollouts as recorded
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings, environment_named

_MOST_KEPT = 4096
_ETAG_LETTERS = 32
_Place = tuple[str, str, str]


@dataclass(frozen=True)
class Routed:
    """A routing and its manifests as they are sent, and the ETag of these bytes."""

    bundle: bytes
    etag: str


@dataclass(frozen=True)
class _Made:
    pointer: Pointer
    issued_at: datetime
    expires_at: datetime
    routed: Routed


_made: dict[_Place, _Made] = {}


def routing_of(settings: Settings, environment: str, model: str, at: datetime | None = None) -> Routed:
    """Return where the traffic of a model in an environment goes, signed; `at` is now, where it is given.

    Raises:
        NotFound: there is no such environment, or nothing is current there.
        EvidenceBroken: what is recorded does not pass what readers of a routing check.
        Misconfigured, Unavailable: there is no signer whose signature counts, or it does not answer; the database is gone.
    """
    environment, now = environment_named(settings, environment), at or datetime.now(UTC)
    place = _place(settings, environment, model)
    with database.autocommit(settings) as connection:
        pointer = _current(promotions.pointer(connection, environment, model), environment, model)
    issued_at, _ = _window(settings, pointer, now)
    known = _made.get(place)
    if known is not None and (known.pointer, known.issued_at) == (pointer, issued_at):
        return known.routed
    try:
        made = _make(settings, environment, model, now)
    except Unavailable:
        # One that says the same and still counts is worth more than none; its reader sees when it expires.
        if known is not None and known.pointer == pointer and now < known.expires_at:
            return known.routed
        raise
    if len(_made) >= _MOST_KEPT:
        _made.clear()
    _made[place] = made
    return made.routed


def _make(settings: Settings, environment: str, model: str, now: datetime) -> _Made:
    with database.snapshot(settings) as tx:
        pointer = _current(promotions.pointer(tx, environment, model), environment, model)
        champion = dossier.of_promotion(tx, pointer.promotion_id)
        rollout = None if pointer.rollout_id is None else recorded.get(tx, pointer.rollout_id)
        challenger = None if rollout is None else dossier.of_promotion(tx, rollout.promotion_id)
    issued_at, expires_at = _window(settings, pointer, now)
    payload = rollouts.routing(
        environment=environment,
        sequence=pointer.sequence,
        changes=pointer.changes or 0,
        champion=(champion.artifact, _manifest(champion)[0]),
        challenger=None if challenger is None else (challenger.artifact, _manifest(challenger)[0]),
        split=None if rollout is None else _split(rollout),
        issued_at=issued_at,
        expires_at=expires_at,
    )
    envelope = dsse.sign(payload, configured_signer(settings, Purpose.PROMOTION, environment))
    data = bundle(envelope, dict(_manifest(one) for one in (champion, challenger) if one is not None))
    check(data, trust_of(settings), environment=environment, model=model, now=now)
    return _Made(pointer, issued_at, expires_at, Routed(data, checksums.sha256_hex(data)[:_ETAG_LETTERS]))


def _window(settings: Settings, pointer: Pointer, now: datetime) -> tuple[datetime, datetime]:
    """Return from when until when a routing that is made now counts: the same for whoever makes it in this half of its time."""
    half = settings.routing_seconds / 2
    start = datetime.fromtimestamp(now.timestamp() // half * half, UTC)
    return max(start, pointer.updated_at), start + timedelta(seconds=settings.routing_seconds)


def _split(rollout: Rollout) -> Split:
    if rollout.status not in OPEN:
        raise EvidenceBroken("rollout", f"{rollout.id} has ended, but the pointer names it; find out who changed it.")
    return Split(rollout.id, rollout.step, rollout.weight, rollout.salt, rollout.spec.unit)


def _manifest(known: Dossier) -> tuple[str, bytes]:
    if known.promotion.manifest is None or known.manifest_envelope is None:
        raise EvidenceBroken("manifest", f"promotion {known.promotion.id} has none; find out who changed it.")
    return known.promotion.manifest, known.manifest_envelope


def _current(pointer: Pointer | None, environment: str, model: str) -> Pointer:
    if pointer is None:
        raise NotFound(
            f"Nothing is current for {model} in {environment}; promote a version with: aiinfra promote {model} --to {environment}"
        )
    return pointer


def _place(settings: Settings, environment: str, model: str) -> _Place:
    return settings.database_url.get_secret_value() if settings.database_url else "", environment, model
