"""Changing a trust root in memory: whatever is done to it, it opens again and says the same; what must not be done is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.domain.trust import Compromise, Purpose, Trust
from aiinfra_core.errors import BadInput, Conflict, NotFound, Unavailable
from aiinfra_core.evidence import root_editing, trust, trust_editing
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.evidence.trust_root import open_trust_root
from aiinfra_core.signing.public_key import PublicKey
from tests.simulators.trust_files import LATER, NOW, files, plan, root, signer, targets, trust_of, trusted

NAMES = st.sampled_from(["ann", "bea", "cem", "dan", "eva"])
TIMES = st.integers(min_value=0, max_value=400).map(lambda days: NOW + timedelta(days=days, microseconds=days))
ROLES = st.dictionaries(st.sampled_from(["security", "ml-lead"]), st.integers(min_value=1, max_value=100))

Edit = Callable[[Trust], Trust]


def _add(name: str, purposes: list[Purpose], replace: bool) -> Edit:
    return lambda it: trust_editing.with_key(it, trusted(name, *purposes), replace=replace)


def _end(name: str, at: int) -> Edit:
    return lambda it: trust_editing.retired(it, signer(name).public_key.keyid, NOW + timedelta(days=at, microseconds=1))


def _compromise(name: str, index: int) -> Edit:
    entry = Compromise(reported_at=NOW, reason="lost, “really”", bad_from_index=index)
    return lambda it: trust_editing.compromised(it, signer(name).public_key.keyid, entry)


def _require(environment: str, roles: dict[str, int]) -> Edit:
    return lambda it: trust_editing.with_threshold(it, environment, roles)


def _log(number: int) -> Edit:
    return lambda it: trust_editing.with_log(it, f"log-{number}.example")


EDITS = st.one_of(
    st.builds(_add, NAMES, st.lists(st.sampled_from(Purpose), min_size=1, unique=True), st.booleans()),
    st.builds(_end, NAMES, st.integers(min_value=0, max_value=400)),
    st.builds(_compromise, NAMES, st.integers(min_value=0, max_value=2**40)),
    st.builds(_require, st.sampled_from(["staging", "prod"]), ROLES),
    st.builds(_log, st.integers(min_value=0, max_value=5)),
)


def _says_where_in_which_log(trust: Trust) -> bool:
    """Say whether a place in the log is named while several logs count: it would be a place in each."""
    return len(trust.logs) > 1 and any(one.compromise is not None and one.compromise.bad_from_index > 0 for one in trust.keys)


@given(edits=st.lists(EDITS, max_size=12))
def test_whatever_is_edited_opens_again_and_says_the_same(edits: list[Edit]) -> None:
    trust, directory = trust_of(trusted("ann")), files(trust_of(trusted("ann")))
    for version, edit in enumerate(edits, start=2):
        try:
            edited = edit(trust)
        except (Conflict, NotFound):
            continue
        if _says_where_in_which_log(edited):
            with pytest.raises(BadInput, match="logs count; write 0"):
                targets(edited, version=version)
            continue
        trust = edited
        directory |= targets(trust, version=version)
        found = open_trust_root(directory["1.root.json"], directory, now=NOW)
        assert (found.trust, found.targets_version) == (trust, version)


@given(
    holders=st.lists(
        st.tuples(st.lists(NAMES, min_size=1, unique=True), st.integers(min_value=1, max_value=5), st.sampled_from(["targets", "other"])),
        min_size=1,
        max_size=5,
    )
)
def test_whoever_holds_the_roots_one_after_another_the_first_leads_to_the_last(holders: list[tuple[list[str], int, str]]) -> None:
    directory: dict[str, bytes] = {}
    for version, (names, threshold, holder) in enumerate(holders, start=1):
        of = plan(*names, threshold=min(threshold, len(names)), targets=holder)
        before = directory.get(f"{version - 1}.root.json")
        signed_by = {*names, *(holders[version - 2][0] if before else ())}
        directory[f"{version}.root.json"] = root(version, of, *sorted(signed_by), previous=before)
        assert root_editing.plan_of(directory[f"{version}.root.json"]) == of
        assert root_editing.lacking(directory[f"{version}.root.json"], before) == []
    directory |= targets(trust_of(), signed_by=holders[-1][2])
    assert open_trust_root(directory["1.root.json"], directory, now=NOW).root_version == len(holders)


def test_signatures_are_collected_one_by_one_and_what_is_missing_is_told() -> None:
    before = root(1, plan("alice", "bob", threshold=2), "alice", "bob")
    unsigned = root(2, plan("bob", "carol", threshold=2))
    ids = {name: signer(name).public_key.keyid for name in ("alice", "bob", "carol")}
    assert [(it.version, it.signatures, set(it.can_sign)) for it in root_editing.lacking(unsigned, before)] == [
        (1, 2, {ids["alice"], ids["bob"]}),
        (2, 2, {ids["bob"], ids["carol"]}),
    ]
    by_bob = root_editing.signed_root(unsigned, before, signer("bob"))
    assert root_editing.signed_root(by_bob, before, signer("bob")) == by_bob
    assert [(it.version, it.signatures) for it in root_editing.lacking(by_bob, before)] == [(1, 1), (2, 1)]
    by_two = root_editing.signed_root(by_bob, before, signer("alice"))
    assert [(it.version, it.can_sign) for it in root_editing.lacking(by_two, before)] == [(2, (ids["carol"],))]
    assert root_editing.lacking(root_editing.signed_root(by_two, before, signer("carol")), before) == []


def test_a_key_that_is_asked_for_nothing_cannot_sign_a_root() -> None:
    with pytest.raises(BadInput, match=r"is no root key of 1\.root\.json"):
        root(1, plan("alice"), "mallory")
    with pytest.raises(BadInput, match="is no root key"):
        root(1, plan("alice"), "targets")


def test_a_signer_whose_signature_does_not_verify_signs_nothing() -> None:
    class Wrong:
        signer_id, public_key, parallel = "wrong", signer("alice").public_key, 1

        def sign(self, message: bytes) -> bytes:  # noqa: ARG002 - whatever it is
            return bytes(64)

    unsigned = root_editing.unsigned_root(1, plan("alice"), LATER)
    with pytest.raises(Unavailable):
        root_editing.signed_root(unsigned, None, Wrong())
    with pytest.raises(Unavailable):
        trust_editing.signed_targets(trust_of(), 1, LATER, Wrong())


@pytest.mark.parametrize(("names", "threshold"), [((), 1), (("alice",), 2), (("alice",), 0), (("alice", "alice"), 1)])
def test_a_root_nobody_could_sign_is_not_planned(names: tuple[str, ...], threshold: int) -> None:
    with pytest.raises(BadInput):
        RootPlan(tuple(PublicKey(signer(name).public_key.raw) for name in names), threshold, signer("targets").public_key)


def test_a_key_keeps_its_entry_unless_it_is_replaced_and_a_compromised_one_for_ever() -> None:
    trust, other = trust_of(trusted("ann")), trusted("ann", Purpose.AUDIT)
    assert trust_editing.with_key(trust, trusted("ann")) is trust
    with pytest.raises(Conflict, match="--replace"):
        trust_editing.with_key(trust, other)
    assert trust_editing.with_key(trust, other, replace=True).keys == (other,)
    lost = _compromise("ann", 5)(trust)
    with pytest.raises(Conflict, match="stays so"):
        trust_editing.with_key(lost, other, replace=True)


def test_a_compromise_and_an_end_may_move_to_earlier_never_to_later() -> None:
    lost = _compromise("ann", 5)(trust_of(trusted("ann")))
    assert _compromise("ann", 5)(lost) is lost
    with pytest.raises(Conflict, match="cannot be moved to later"):
        _compromise("ann", 6)(lost)
    earlier = _compromise("ann", 4)(lost).keys[0].compromise
    assert earlier is not None
    assert earlier.bad_from_index == 4
    ended = _end("ann", 5)(trust_of(trusted("ann")))
    assert _end("ann", 6)(ended) is ended
    assert _end("ann", 4)(ended) != ended


def test_a_key_is_named_by_its_signer_or_the_beginning_of_its_keyid_if_that_is_the_only_one() -> None:
    trust = trust_of(trusted("ann"), trusted("bea"), trusted("cem", signer_id="two"), trusted("dan", signer_id="two"))
    keyid = trusted("bea").keyid
    assert trust_editing.key_named(trust, keyid[:8]).owner == "bea"
    assert trust_editing.key_named(trust, "bea").owner == "bea"
    for text in (keyid[:7], "", "0" * 64, keyid + "0", "two", "be"):
        with pytest.raises(NotFound):
            trust_editing.key_named(trust, text)


@pytest.mark.parametrize(("environment", "roles"), [("prod", {"security": 0}), ("prod", {"security": 101}), ("Prod", {"security": 1})])
def test_a_threshold_that_is_none_is_refused(environment: str, roles: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        trust_editing.with_threshold(trust_of(), environment, roles)


def test_a_threshold_may_begin_at_a_time_and_another_one_has_its_own_beginning() -> None:
    begin = datetime(2026, 5, 1, tzinfo=UTC)
    asked = trust_editing.with_threshold(trust_of(), "prod", {"security": 1}, begin)
    both = trust_editing.with_threshold(asked, "staging", {"ml-lead": 1})
    assert both.thresholds_since == {"prod": begin}
    assert trust.threshold(both, "prod", begin - timedelta(microseconds=1)) == {}
    assert trust.threshold(both, "prod", begin) == {"security": 1}
    assert trust.threshold(both, "staging", datetime.min.replace(tzinfo=UTC)) == {"ml-lead": 1}
    assert trust.threshold(both, "canary", begin) == {}
    assert trust_editing.with_threshold(both, "prod", {"security": 1}).thresholds_since is None
    assert trust_editing.with_threshold(both, "prod", {}).thresholds_since is None


def test_what_asks_for_nobody_has_no_beginning() -> None:
    with pytest.raises(BadInput, match="has no beginning"):
        trust_editing.with_threshold(trust_of(), "prod", {}, datetime(2026, 5, 1, tzinfo=UTC))
    with pytest.raises(BadInput, match="asks for nobody"):
        trust.check(trust_of().model_copy(update={"thresholds_since": {"prod": datetime(2026, 5, 1, tzinfo=UTC)}}))


def test_a_trust_without_beginnings_is_written_as_before() -> None:
    asked = trust_editing.with_threshold(trust_of(), "prod", {"security": 1})
    assert "thresholdsSince" not in asked.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_no_roles_are_no_threshold() -> None:
    asked = trust_editing.with_threshold(trust_of(), "prod", {"security": 1})
    assert trust_editing.with_threshold(asked, "prod", {}) == trust_of()
