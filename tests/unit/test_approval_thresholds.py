"""How many owners of which roles are missing: compared with trying every way to seat them."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.evidence.verification.approvals import missing_roles

ROLES = "abc"


@given(
    st.dictionaries(st.sampled_from("uvwxy"), st.frozensets(st.sampled_from(ROLES)), max_size=5),
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 2), max_size=3),
)
def test_as_few_places_stay_empty_as_can_be(owners: dict[str, frozenset[str]], threshold: dict[str, int]) -> None:
    places = [role for role, needed in sorted(threshold.items()) for _ in range(needed)]
    everybody = [*owners.values(), *([frozenset[str]()] * len(places))]
    most = max(sum(role in roles for role, roles in zip(places, seated, strict=False)) for seated in permutations(everybody, len(places)))
    missing = missing_roles(owners, threshold)
    assert len(places) - len(missing) == most
    assert all(missing.count(role) <= threshold[role] for role in missing)


@pytest.mark.parametrize(
    ("owners", "threshold", "missing"),
    [
        ({"a": "x"}, {"x": 1}, []),
        ({"a": "x"}, {"x": 2}, ["x"]),
        ({"a": "xy", "b": "x"}, {"x": 1, "y": 1}, []),
        ({"a": "xy"}, {"x": 1, "y": 1}, ["y"]),
        ({"a": "xyz", "b": "xy", "c": "x"}, {"x": 1, "y": 1, "z": 1}, []),
        ({"a": "x", "b": "x"}, {"x": 1, "y": 1}, ["y"]),
        ({}, {"x": 1}, ["x"]),
        ({}, {}, []),
    ],
)
def test_each_owner_fills_one_place_and_as_many_are_filled_as_can_be(
    owners: dict[str, str], threshold: dict[str, int], missing: list[str]
) -> None:
    assert missing_roles({name: frozenset(roles) for name, roles in owners.items()}, threshold) == missing
