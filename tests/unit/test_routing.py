"""What a reader of a signed routing refuses, each for its own reason; what holds is believed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.domain.trust import Compromise, Purpose, Trust
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import dsse, routing
from aiinfra_core.evidence.rollout_predicates import Routing
from aiinfra_core.evidence.rollouts import Split
from aiinfra_core.evidence.statement import Subject
from tests.simulators import sample_statements
from tests.simulators.routings import ENVIRONMENT, MODEL, ROLLOUT, SALT, Promoted, promoted, registered, routed
from tests.simulators.trust_files import NOW, signer, trust_of, trusted

OLD, NEW = registered("s3://models/one.bin", "1" * 64, 3), registered("s3://models/two.bin", "2" * 64, 4)
CHAMPION = promoted(OLD, 7)
CHALLENGER = promoted(NEW, 8, CHAMPION)
TRUST = trust_of(trusted("ci"))
MINUTE = timedelta(minutes=1)


def check(bundle: bytes, trust: Trust = TRUST, **changes: Any) -> Routing:
    return routing.check(bundle, trust, **{"environment": ENVIRONMENT, "model": MODEL, "now": NOW, **changes})


def test_what_holds_is_believed() -> None:
    alone, both = check(routed(CHAMPION)), check(routed(CHAMPION, CHALLENGER, weight=1000), seen=(7, 1))
    assert (alone.champion.checksum, alone.challenger, alone.weight) == (OLD.checksum, None, 0)
    assert (both.challenger and both.challenger.version, both.weight, both.changes) == (4, 1000, 1)


def test_a_manifest_counts_though_its_key_has_retired_since() -> None:
    retired = trusted("old", valid_until=NOW - timedelta(days=1))
    assert check(routed(promoted(OLD, 7, by="old")), trust_of(trusted("ci"), retired)).sequence == 7


@dataclass(frozen=True)
class Refusal:
    """What is read, and at which place and for what it is refused."""

    bundle: Callable[[], bytes]
    place: str
    why: str
    trust: Trust = TRUST
    seen: tuple[int, int] | None = None


def _without(name: str) -> bytes:
    value = canonical_json.loads(routed(CHAMPION, CHALLENGER))
    del value["manifests"][name]
    return canonical_json.dumps(value)


def _swapped() -> bytes:
    """Return a routing whose manifest was replaced by another valid one, under its name."""
    value = canonical_json.loads(routed(CHAMPION))
    value["manifests"][CHAMPION.digest] = canonical_json.loads(CHALLENGER.envelope)
    return canonical_json.dumps(value)


def _edited(weight: int) -> bytes:
    """Return a routing with another weight under the same signature."""
    value = canonical_json.loads(routed(CHAMPION, CHALLENGER))
    more = canonical_json.loads(routed(CHAMPION, CHALLENGER, weight=weight))
    value["routing"]["payload"] = more["routing"]["payload"]
    return canonical_json.dumps(value)


def _no_routing() -> bytes:
    envelope = dsse.sign(sample_statements.registration(), signer("ci"))
    return routing.bundle(envelope, {})


def _of(name: str, **about: Any) -> Trust:
    """Return a trust in `ci`, and in another key for which something more is said."""
    return trust_of(trusted("ci"), trusted(name, **about))


def _champion(**changes: Any) -> Promoted:
    return promoted(OLD, changes.pop("sequence", 7), **changes)


_LOST = Compromise(reported_at=NOW, reason="laptop stolen", bad_from_index=10**6)
_ENDED, _BEFORE = {"valid_until": NOW - MINUTE}, {"valid_until": NOW - timedelta(days=60)}
_SPLIT = Split(ROLLOUT, 0, 500, SALT, Unit.REQUEST)
_FILE_OF_SUMS = Subject(MODEL, DigestKind.DIRECTORY, OLD.checksum)
REFUSED = {
    "not JSON": Refusal(lambda: b"{", "bundle", "not readable"),
    "too large": Refusal(lambda: b" " * 70_000, "bundle", "larger than"),
    "something besides": Refusal(lambda: routed(CHAMPION)[:-1] + b',"more":1}', "bundle", "exactly a routing"),
    "no routing": Refusal(_no_routing, "routing predicate type", "says nothing about traffic"),
    "changed weight": Refusal(lambda: _edited(9999), "routing signature", "does not verify"),
    "unknown key": Refusal(lambda: routed(CHAMPION, by="mallory"), "routing signature", "not trusted here"),
    "key of another purpose": Refusal(
        lambda: routed(CHAMPION, by="audit"), "routing key", "purpose promotion", trust_of(trusted("ci"), trusted("audit", Purpose.AUDIT))
    ),
    "key of another environment": Refusal(
        lambda: routed(CHAMPION, by="st"), "routing key", "environment prod", _of("st", environments=("staging",))
    ),
    "expired key": Refusal(lambda: routed(CHAMPION, by="old"), "routing key", "was not valid at", _of("old", **_ENDED)),
    "revoked key": Refusal(lambda: routed(CHAMPION, by="lost"), "routing key", "is compromised", _of("lost", compromise=_LOST)),
    "other environment": Refusal(lambda: routed(CHAMPION, environment="staging"), "routing environment", "for staging, not for prod"),
    "expired": Refusal(lambda: routed(CHAMPION, expires_at=NOW), "routing expiry", "it expired at"),
    "from the future": Refusal(lambda: routed(CHAMPION, issued_at=NOW + 2 * MINUTE), "routing expiry", "yet to come"),
    "replayed, an earlier sequence": Refusal(lambda: routed(CHAMPION), "routing order", "leads us back", seen=(8, 0)),
    "replayed, fewer changes": Refusal(lambda: routed(CHAMPION, changes=2), "routing order", "leads us back", seen=(7, 3)),
    "weight without a challenger": Refusal(lambda: routed(CHAMPION, split=_SPLIT), "routing split", "without saying"),
    "challenger without a weight": Refusal(lambda: routed(CHAMPION, CHALLENGER, split=None), "routing split", "without saying"),
    "no manifest": Refusal(lambda: _without(CHAMPION.digest), "champion manifest bundle", "does not come"),
    "no manifest of the challenger": Refusal(lambda: _without(CHALLENGER.digest), "challenger manifest bundle", "does not come"),
    "another manifest": Refusal(_swapped, "champion manifest statement", f"not {CHAMPION.digest}"),
    "manifest by an unknown key": Refusal(lambda: routed(_champion(by="mallory")), "champion manifest signature", "not trusted here"),
    "manifest by a key that had expired": Refusal(
        lambda: routed(_champion(by="old")), "champion manifest key", "was not valid at", _of("old", **_BEFORE)
    ),
    "manifest by a revoked key": Refusal(
        lambda: routed(_champion(by="lost")), "champion manifest key", "is compromised", _of("lost", compromise=_LOST)
    ),
    "manifest for another environment": Refusal(
        lambda: routed(_champion(environment="staging")), "champion manifest environment", "to staging, not to prod"
    ),
    "manifest of other bytes": Refusal(
        lambda: routed(_champion(subject=Subject(MODEL, DigestKind.FILE, "9" * 64))), "champion manifest subject", "not 1111"
    ),
    "manifest of another model": Refusal(
        lambda: routed(_champion(subject=Subject("snow", DigestKind.FILE, OLD.checksum))), "champion manifest subject", "promotes snow"
    ),
    "manifest of a directory": Refusal(lambda: routed(_champion(subject=_FILE_OF_SUMS)), "champion manifest subject", "not 1111"),
    "manifest of another version": Refusal(lambda: routed(_champion(version=2)), "champion manifest version", "not version 3"),
    "superseded manifest replayed": Refusal(
        lambda: routed(_champion(sequence=5), sequence=7), "champion manifest sequence", "of sequence 5, and what is current of 7"
    ),
    "challenger of another champion": Refusal(
        lambda: routed(CHAMPION, promoted(NEW, 8, _champion(requested_by="eve"))), "challenger manifest sequence", "does not follow"
    ),
    "challenger that is current long since": Refusal(
        lambda: routed(CHAMPION, promoted(NEW, 3, CHAMPION)), "challenger manifest sequence", "of sequence 3"
    ),
    "challenger without a rollout": Refusal(
        lambda: routed(CHAMPION, promoted(NEW, 8, CHAMPION, rollout_digest=None)), "challenger manifest sequence", "no rollout"
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_hold_is_refused_at_its_place(name: str) -> None:
    given = REFUSED[name]
    with pytest.raises(EvidenceBroken) as refused:
        check(given.bundle(), given.trust, seen=given.seen)
    assert refused.value.place == given.place
    assert given.why in refused.value.detail


def test_a_routing_of_another_model_is_refused() -> None:
    with pytest.raises(EvidenceBroken, match="routing model: it is for rain, not for snow"):
        check(routed(CHAMPION), model="snow")


def test_a_routing_that_was_accepted_in_time_is_checked_as_of_then() -> None:
    late = NOW + timedelta(hours=1)
    with pytest.raises(EvidenceBroken, match="it expired at"):
        check(routed(CHAMPION), now=late)
    assert check(routed(CHAMPION), now=NOW).sequence == 7
