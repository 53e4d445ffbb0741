"""Serving what was promoted and nothing else: who answers, from which verified bytes, and what is refused for which reason."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from aiinfra_core import artifact_store
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.domain.trust import Compromise, TrustedKey
from aiinfra_core.errors import DigestMismatch, EvidenceBroken, Unavailable
from aiinfra_core.serving import pinned
from tests.simulators import trust_files
from tests.simulators.routings import MINUTES, SALT, Promoted, promoted, registered, routed, stored
from tests.simulators.serving_place import UNITS, Place, arms, everybody, place_in
from tests.simulators.trust_files import NOW, signer, trust_of, trusted

CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        yield made


def test_a_unit_goes_where_its_salted_digest_falls_and_always_there(place: Place) -> None:
    place.shares(weight=2500)
    with place.serving() as serving:
        found = arms(serving)
        assert found == arms(serving)
    expected = {
        unit: CHALLENGER if int.from_bytes(hashlib.sha256((SALT + unit).encode()).digest()[:8]) * 10_000 < 2500 * 2**64 else CHAMPION
        for unit in UNITS
    }
    assert found == expected
    assert 70 < list(found.values()).count(CHALLENGER) < 130


def test_a_weight_that_rises_takes_nobody_back(place: Place) -> None:
    place.shares(weight=1000)
    with place.serving() as serving:
        few = {unit for unit, arm in arms(serving).items() if arm is CHALLENGER}
        place.shares(weight=6000, changes=2, step=1)
        serving.refresh()
        many = {unit for unit, arm in arms(serving).items() if arm is CHALLENGER}
        place.says(routed(place.champion, changes=3))
        serving.refresh()
        assert set(arms(serving).values()) == {CHAMPION}
    assert few < many < set(UNITS)


def test_requests_without_a_name_are_spread_and_users_without_one_stay_with_the_champion(place: Place) -> None:
    place.shares()
    with place.serving() as serving:
        shared = [serving.choose() for _ in range(400)]
        assert 120 < sum(one.arm is CHALLENGER for one in shared) < 280
        place.shares(unit=Unit.USER, changes=2)
        serving.refresh()
        unnamed = [serving.choose() for _ in range(100)]
        assert {(one.arm, one.rollout_id, serving.report(one)) for one in unnamed} == {(CHAMPION, None, False)}


def test_the_path_that_is_handed_over_holds_the_arms_verified_bytes(place: Place) -> None:
    place.shares()
    with place.serving() as serving:
        assert {one.arm for one in everybody(serving)} == {CHAMPION, CHALLENGER}
        standing = serving.standing()
    assert (standing.sequence, standing.changes, standing.problem) == (7, 1, None)
    assert standing.challenger is not None
    assert standing.challenger.version == 2


def test_changed_bytes_of_the_champion_are_never_served(place: Place) -> None:
    place.change_bytes(place.champion)
    with pytest.raises(DigestMismatch, match="not the ones that were stored"), place.serving():
        pass
    assert not list(place.cache.rglob("model.bin"))


def test_a_challenger_whose_bytes_were_changed_gets_no_traffic_and_nothing_is_counted_for_it(place: Place) -> None:
    place.shares()
    place.change_bytes(place.challenger)
    with place.serving() as serving:
        chosen = everybody(serving)
        assert {(one.arm, one.rollout_id) for one in chosen} == {(CHAMPION, None)}
        assert "not the ones that were stored" in str(serving.standing().problem)
        place.change_bytes(place.challenger, "two")
        serving.refresh()
        assert {one.arm for one in everybody(serving)} == {CHAMPION, CHALLENGER}
        assert serving.standing().problem is None


def test_bytes_that_were_changed_in_the_cache_are_fetched_anew(place: Place) -> None:
    with place.serving() as serving:
        path = serving.choose().path
    path.chmod(0o644)
    path.write_text("evil")
    with place.serving() as serving:
        assert serving.choose().path == path
        assert path.read_text() == "one"


def test_a_directory_is_not_replaced_by_the_file_that_lists_it(place: Place) -> None:
    folder = place.folder / "made" / "tree"
    folder.mkdir()
    (folder / "weights").write_text("w")
    kept = artifact_store.put(place.store, folder, "uploads/tree")
    tree = promoted(registered(kept.uri, kept.checksum, 3, "dirHash"), 7)
    place.says(routed(tree))
    with place.serving() as serving:
        assert (serving.choose().path / "weights").read_text() == "w"
    sums = (place.folder / "store" / "uploads" / "tree.SHA256SUMS").read_bytes()
    (place.folder / "made" / "sums").write_bytes(sums)
    file = artifact_store.put(place.store, place.folder / "made" / "sums", "uploads/sums")
    assert file.checksum == kept.checksum  # so the digest alone would not tell
    place.says(routed(promoted(registered(file.uri, file.checksum, 4, "dirHash"), 8)))
    with pytest.raises(DigestMismatch, match="is not the dirHash that was promoted"), place.serving(cache=place.folder / "cold"):
        pass


REFUSED: dict[str, tuple[Callable[[Place], bytes], str]] = {
    "for another environment": (lambda it: routed(promoted(it.challenger.artifact, 9, environment="staging")), "manifest environment"),
    "routing of another environment": (lambda it: routed(it.champion, environment="staging", changes=5), "routing environment"),
    "superseded, replayed": (lambda it: routed(promoted(it.challenger.artifact, 6)), "routing order"),
    "superseded manifest under a new sequence": (lambda it: routed(it.champion, sequence=9), "manifest sequence"),
    "by a key nobody trusts": (lambda it: routed(promoted(it.challenger.artifact, 9), by="mallory"), "routing signature"),
    "expired": (lambda it: routed(promoted(it.challenger.artifact, 9), expires_at=NOW - MINUTES), "routing expiry"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_hold_changes_nothing_and_its_reason_is_told(place: Place, name: str) -> None:
    make, reason = REFUSED[name]
    place.shares()
    with place.serving() as serving:
        before = arms(serving)
        place.says(make(place))
        serving.refresh()
        assert reason in str(serving.standing().problem)
        assert arms(serving) == before


def test_what_was_superseded_is_refused_after_a_restart_too(place: Place) -> None:
    newer = promoted(place.challenger.artifact, 8)
    place.says(routed(newer))
    with place.serving():
        pass
    place.says(routed(place.champion))
    with place.serving() as serving:
        assert "routing order" in str(serving.standing().problem)
        assert serving.choose().served.version == 2


def trust_directory(place: Place, *keys: TrustedKey, version: int = 1) -> None:
    """Write a trust directory with these keys, which the place's serving is pinned to."""
    folder = place.folder / "trust"
    folder.mkdir(exist_ok=True)
    for name, data in trust_files.files(trust_of(*keys), version=version).items():
        (folder / name).write_bytes(data)
    place.trust = folder / "1.root.json"


LOST = Compromise(reported_at=NOW, reason="laptop stolen", bad_from_index=10**6)


def test_with_a_root_of_trust_a_revoked_key_ends_serving_and_a_good_one_begins_it_again(place: Place) -> None:
    trust_directory(place, trusted("ci"), trusted("next"))
    with place.serving() as serving:
        assert serving.choose().arm is CHAMPION
        trust_directory(place, trusted("ci", compromise=LOST), trusted("next"), version=2)
        serving.refresh()
        with pytest.raises(EvidenceBroken, match="is compromised"):
            serving.choose()
        place.service.down = True
        serving.refresh()
        with pytest.raises(EvidenceBroken, match="is compromised"):
            serving.choose()
        place.service.down = False
        place.says(routed(promoted(place.champion.artifact, 8, by="next"), by="next"))
        serving.refresh()
        assert serving.choose().served.version == 1


def test_a_routing_by_a_key_that_has_expired_is_refused_and_what_was_accepted_in_its_time_goes_on(place: Place) -> None:
    trust_directory(place, trusted("ci"))
    with place.serving() as serving:
        trust_directory(place, trusted("ci", valid_until=NOW + MINUTES), version=2)
        place.clock.pass_(2 * MINUTES)
        place.says(routed(promoted(place.challenger.artifact, 8)))
        serving.refresh()
        assert "routing key" in str(serving.standing().problem)
        assert serving.choose().served.version == 1


def test_a_root_of_trust_that_cannot_be_read_any_more_lets_nothing_new_in(place: Place) -> None:
    trust_directory(place, trusted("ci"))
    place.shares()
    with place.serving() as serving:
        (place.folder / "trust" / "targets.json").write_text("{}")
        place.says(routed(promoted(place.challenger.artifact, 8)))
        serving.refresh()
        assert "trust root" in str(serving.standing().problem)
        assert set(arms(serving).values()) == {CHAMPION, CHALLENGER}
        place.clock.pass_(timedelta(hours=1))
        assert set(arms(serving).values()) == {CHAMPION}


def test_a_pinned_key_is_all_the_trust_there_is(place: Place) -> None:
    place.trust = pinned([signer("ci").public_key.base64])
    with place.serving() as serving:
        assert serving.choose().served.version == 1
    place.trust = pinned([signer("other").public_key.base64])
    with pytest.raises(EvidenceBroken, match="not trusted here"), place.serving():
        pass


def test_a_new_champion_whose_bytes_are_not_there_leaves_the_old_one_without_a_challenger(place: Place) -> None:
    place.shares()
    newer: Promoted = promoted(stored(place.store, place.folder / "made", "three", 3), 8)
    with place.serving() as serving:
        assert set(arms(serving).values()) == {CHAMPION, CHALLENGER}
        place.path_of(newer).rename(place.folder / "aside")
        place.says(routed(newer))
        serving.refresh()
        assert {(one.arm, one.served.version) for one in map(serving.choose, UNITS)} == {(CHAMPION, 1)}
        (place.folder / "aside").rename(place.path_of(newer))
        serving.refresh()
        assert serving.choose().path.read_text() == "three"


def test_processes_that_start_at_once_share_a_cold_cache(place: Place) -> None:
    place.shares()
    together = Barrier(4)

    def start() -> set[Arm]:
        together.wait()
        with place.serving() as serving:
            return {one.arm for one in everybody(serving)}

    with ThreadPoolExecutor(4) as pool:
        assert [one.result() for one in [pool.submit(start) for _ in range(4)]] == [{CHAMPION, CHALLENGER}] * 4


def test_nothing_is_chosen_before_it_is_known_what_was_promoted(place: Place) -> None:
    place.service.down = True
    with pytest.raises(Unavailable), place.serving():
        pass
