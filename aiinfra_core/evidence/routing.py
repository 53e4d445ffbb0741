"""What a reader of a signed routing checks before a path is handed over: numbered, pure, without I/O.

A routing comes with the promotion manifests of its arms, as `{"routing": ENVELOPE, "manifests": {DIGEST: ENVELOPE}}`. The steps, cited
in the code; an error names the place, where a manifest is broken after the arm it is of:

1. The bundle is strict JSON of exactly these two, and no larger than it may be (`bundle`).
2. The routing is signed by keys that may sign promotions in this environment now (`routing signature`, `routing key`, ...).
3. It is a routing, for this environment and model (`routing predicate type`, `routing environment`, `routing model`).
4. It counts now: it was issued, and has not expired (`routing expiry`).
5. It is not older than one that was seen before (`routing order`).
6. It has a challenger if, and only if, it says how traffic is shared with it (`routing split`).
7. Each arm's manifest is the one it names by digest (`champion manifest`, `challenger manifest`), signed by keys that might sign
   promotions in this environment when it says it was verified, and that nobody reported since (`... signature`, `... key`).
8. Each manifest promotes the arm's very bytes and version, here (`... subject`, `... environment`, `... version`).
9. The champion's manifest is that of the sequence that is current; the challenger's follows it, and asks for a rollout (`... sequence`).

A manifest is believed without the log: a key that was reported as compromised counts for nothing here, whenever it signed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import Promotion
from aiinfra_core.evidence.rollout_predicates import RoutedArm, Routing
from aiinfra_core.evidence.statement import Statement, Subject
from aiinfra_core.evidence.trust import listed, may_sign
from aiinfra_core.signing import public_key

MAX_BUNDLE_BYTES = 64 * 1024
CLOCKS_DIFFER = timedelta(seconds=60)
"""By how much the clock of who issued a routing may be ahead of its reader's."""
_CHAMPION, _CHALLENGER = "champion manifest", "challenger manifest"


@dataclass(frozen=True)
class _Reader:
    """Who reads, and when."""

    trust: Trust
    environment: str
    model: str
    now: datetime


def bundle(routing: bytes, manifests: dict[str, bytes]) -> bytes:
    """Return a routing and its manifests, by digest, as they are sent; each is the bytes of an envelope."""
    read = {digest: canonical_json.loads(envelope) for digest, envelope in manifests.items()}
    return canonical_json.dumps({"routing": canonical_json.loads(routing), "manifests": read})


def check(data: bytes, trust: Trust, *, environment: str, model: str, now: datetime, seen: tuple[int, int] | None = None) -> Routing:
    """Return what a bundle says about where traffic goes, if all of it holds.

    Args:
        data: the bundle's bytes, from wherever.
        trust: whose signatures count.
        environment: that is served.
        model: that is served.
        now: with a time zone. For a bundle that was checked before, when that was.
        seen: the highest (sequence, changes) that was accepted before, so that nobody leads us back.

    Raises:
        EvidenceBroken: `place` names the step, as listed in the module.
    """
    reader = _Reader(trust, environment, model, now)
    envelope, manifests = _opened(data)
    with _of("routing"):
        claim = _signed(envelope, reader, now)
        routing = _for_reader(claim, reader)
        _check_time(routing, now)
        _check_order(routing, seen)
        _check_split(routing)
        if claim.subject != _subject(reader, routing.champion):
            raise EvidenceBroken("subject", "it is not about its champion.")
    champion = _promoted(_CHAMPION, routing.champion, manifests, reader)
    with _of(_CHAMPION):
        _check_sequence(champion, routing.sequence)
    if routing.challenger is not None:
        challenger = _promoted(_CHALLENGER, routing.challenger, manifests, reader)
        with _of(_CHALLENGER):
            _check_follows(challenger, routing)
    return routing


def _opened(data: bytes) -> tuple[bytes, dict[str, bytes]]:  # 1
    if len(data) > MAX_BUNDLE_BYTES:
        raise EvidenceBroken("bundle", f"it is larger than {MAX_BUNDLE_BYTES} bytes.")
    try:
        match canonical_json.loads(data, what="It"):
            case {"routing": dict(routing), "manifests": dict(manifests), **more} if not more:
                return canonical_json.dumps(routing), {digest: canonical_json.dumps(one) for digest, one in manifests.items()}
    except BadInput as error:
        raise EvidenceBroken("bundle", str(error)) from None
    raise EvidenceBroken("bundle", "it must be an object of exactly a routing and manifests.")


def _signed(envelope: bytes, reader: _Reader, at: datetime | None) -> Statement:  # 2, 7
    """Return the statement in an envelope whose every signer might sign promotions then; without a time, when it says it was verified."""
    keys = {entry.keyid: public_key.parse(entry.public_key) for entry in reader.trust.keys}
    claim = statement.parse(dsse.open_envelope(envelope, keys))
    if at is None:
        at = datetime.fromisoformat(_manifest(claim).time_verified)
    for signature in dsse.parse(envelope).signatures:
        may_sign(listed(reader.trust, signature.keyid), Purpose.PROMOTION, at=at, index=None, environment=reader.environment)
    return claim


def _for_reader(claim: Statement, reader: _Reader) -> Routing:  # 3
    routing = claim.predicate
    if not isinstance(routing, Routing):
        raise EvidenceBroken("predicate type", f"{claim.predicate_type} says nothing about traffic.")
    if routing.environment != reader.environment:
        raise EvidenceBroken("environment", f"it is for {routing.environment}, not for {reader.environment}.")
    if routing.model != reader.model:
        raise EvidenceBroken("model", f"it is for {routing.model}, not for {reader.model}.")
    return routing


def _check_time(routing: Routing, now: datetime) -> None:  # 4
    if datetime.fromisoformat(routing.issued_at) > now + CLOCKS_DIFFER:
        raise EvidenceBroken("expiry", f"it was issued at {routing.issued_at}, which is yet to come; see whose clock is wrong.")
    if datetime.fromisoformat(routing.expires_at) <= now:
        raise EvidenceBroken("expiry", f"it expired at {routing.expires_at}; ask for a new one.")


def _check_order(routing: Routing, seen: tuple[int, int] | None) -> None:  # 5
    if seen is not None and (routing.sequence, routing.changes) < seen:
        raise EvidenceBroken(
            "order",
            f"it is of sequence {routing.sequence} with {routing.changes} changes, but {seen[0]} with {seen[1]} was seen before;"
            " somebody leads us back.",
        )


def _check_split(routing: Routing) -> None:  # 6
    parts = (routing.challenger, routing.salt, routing.unit, routing.rollout_id, routing.step)
    if any((part is None) != (routing.challenger is None) for part in parts) or (routing.challenger is None and routing.weight):
        raise EvidenceBroken("split", "it names a challenger without saying how traffic is shared with it, or the other way round.")


def _promoted(what: str, arm: RoutedArm, manifests: dict[str, bytes], reader: _Reader) -> Promotion:  # 7, 8
    with _of(what):
        if arm.manifest not in manifests:
            raise EvidenceBroken("bundle", f"{arm.manifest} does not come with the routing.")
        claim = _signed(manifests[arm.manifest], reader, None)
        if claim.digest != arm.manifest:
            raise EvidenceBroken("statement", f"it has the digest {claim.digest}, not {arm.manifest}.")
        manifest = _manifest(claim)
        if manifest.promotion.environment != reader.environment:
            raise EvidenceBroken("environment", f"it promotes to {manifest.promotion.environment}, not to {reader.environment}.")
        if claim.subject != _subject(reader, arm):
            raise EvidenceBroken("subject", f"it promotes {claim.subject.name} {claim.subject.checksum}, not {arm.checksum}.")
        if manifest.resource_uri != f"mlmodel://{reader.model}/{arm.version}?env={reader.environment}":
            raise EvidenceBroken("version", f"it promotes {manifest.resource_uri}, not version {arm.version} to {reader.environment}.")
    return manifest


def _check_sequence(manifest: Promotion, sequence: int) -> None:  # 9
    if manifest.promotion.sequence != sequence:
        raise EvidenceBroken("sequence", f"it is of sequence {manifest.promotion.sequence}, and what is current of {sequence}.")


def _check_follows(manifest: Promotion, routing: Routing) -> None:  # 9
    _check_sequence(manifest, routing.sequence + 1)
    if manifest.promotion.follows != routing.champion.manifest:
        raise EvidenceBroken("sequence", "it does not follow the champion's.")
    if manifest.promotion.rollout_digest is None:
        raise EvidenceBroken("sequence", "it asks for no rollout.")


def _manifest(claim: Statement) -> Promotion:
    if not isinstance(claim.predicate, Promotion):
        raise EvidenceBroken("predicate type", f"{claim.predicate_type} promotes nothing.")
    return claim.predicate


def _subject(reader: _Reader, arm: RoutedArm) -> Subject:
    return Subject(reader.model, DigestKind(arm.digest_kind), arm.checksum)


@contextmanager
def _of(what: str) -> Iterator[None]:
    """Name in an error of what it is."""
    try:
        yield
    except EvidenceBroken as error:
        raise EvidenceBroken(f"{what} {error.place}", error.detail) from None
