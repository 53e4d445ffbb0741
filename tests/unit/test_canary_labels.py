"""Labels come late, and more of them for one arm than for the other: answers are compared by how many of each arm were labelled."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canary
from aiinfra_core.canary import e_process
from aiinfra_core.domain.rollout import Counts, Heard, Look, Reading, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec, Unit
from tests.simulators.canary_looks import ERRORS, at_minute, heard, looked, silent, spec_of

WRONG = SignalSpec(name="wrong", kind="quality", alpha=0.003)
SPEC = spec_of(ERRORS.model_copy(update={"advances": False}), WRONG, weights=(50, 100), bake_minutes=0)
Arm = tuple[int, int]


def minute(champion: Arm, challenger: Arm, number: int = 1) -> list[Reading]:
    """Return what was labelled, each arm's wrong and labelled, beside requests that are split as they should be."""
    return [heard((100 * number, 10_000 * number), (100 * number, 10_000 * number)), heard(champion, challenger, "wrong")]


def evidence(look: Look) -> tuple[tuple[float, ...], float]:
    return look.judged.signals[1].ratios, look.judged.signals[1].advance


def looks(*minutes: tuple[Arm, Arm], spec: RolloutSpec = SPEC) -> list[Look]:
    return [look for _, look in looked(spec, [minute(*arms, number) for number, arms in enumerate(minutes, 1)])]


def test_a_challenger_twice_as_wrong_with_half_as_many_labels_does_not_go_on() -> None:
    (look,) = looks(((250, 5000), (250, 2500)))
    assert look.verdict is Verdict.ROLLBACK
    assert look.reason.startswith("wrong: the challenger is worse than 1.25 times the champion")


def test_one_as_right_with_twice_as_many_labels_is_not_sent_back_and_goes_on() -> None:
    (look,) = looks(((100, 2000), (200, 4000)))
    assert look.verdict is Verdict.ADVANCE


def test_what_is_added_at_a_look_is_judged_by_what_was_labelled_since_the_one_before() -> None:
    first, second = looks(((10, 300), (6, 100)), ((12, 400), (9, 300)))
    added = e_process.worse(2, 3, 200 / 300, 1.25)
    assert evidence(second)[0] == pytest.approx([before + new for before, new in zip(evidence(first)[0], added, strict=True)])
    assert evidence(second)[1] == pytest.approx(evidence(first)[1] + e_process.as_good(2, 3, 200 / 300, 1.25))


@pytest.mark.parametrize("alone", [((12, 340), (6, 100)), ((10, 300), (9, 120))])
def test_labels_of_one_arm_wait_for_those_of_the_other(alone: tuple[Arm, Arm]) -> None:
    then, later = ((10, 300), (6, 100)), ((14, 400), (11, 150))
    first, waiting, counted = looks(then, alone, later)
    assert (waiting.readings[1].heard, evidence(waiting)) == (Heard.OK, evidence(first))
    assert evidence(counted) == evidence(looks(then, later)[-1])


def test_a_step_without_labels_of_one_arm_has_no_evidence_and_does_not_go_on() -> None:
    (look,) = looks(((250, 5000), (0, 0)))
    assert (look.verdict, evidence(look)) == (Verdict.HOLD, ((0.0,) * 5, 0.0))


@pytest.mark.parametrize("changed", [((10, 300), (7, 100)), ((10, 300), (9, 102)), ((13, 302), (6, 120))])
def test_more_wrong_answers_than_new_labels_are_not_believed(changed: tuple[Arm, Arm]) -> None:
    first, look = looks(((10, 300), (6, 100)), changed)
    assert (look.verdict, look.readings[1].heard, evidence(look)) == (Verdict.HOLD, Heard.MALFORMED, evidence(first))
    assert "a label has to be final before it is counted" in look.reason


def test_they_are_once_there_are_labels_enough() -> None:
    _, _, look = looks(((10, 300), (6, 100)), ((10, 300), (9, 102)), ((12, 400), (9, 130)))
    assert evidence(look) == evidence(looks(((10, 300), (6, 100)), ((12, 400), (9, 130)))[-1])


def test_labels_that_went_away_while_they_waited_are_noticed() -> None:
    *_, look = looks(((10, 300), (6, 100)), ((12, 340), (6, 100)), ((11, 330), (6, 100)))
    assert look.readings[1].heard is Heard.DECREASING
    assert "12 of 340 units were bad, then 11 of 330" in look.reason


def test_a_new_step_begins_without_labels() -> None:
    spec = SPEC.model_copy(update={"weights": (50, 60, 100)})
    first = canary.judge(spec, at_minute(1), None, minute((100, 2000), (200, 4000)))
    second = canary.judge(spec, at_minute(2, number=2, step=1), first, minute((1, 20), (1, 40)))
    assert (first.verdict, second.readings[1].heard) == (Verdict.ADVANCE, Heard.OK)
    added = e_process.worse(1, 1, 40 / 60, 1.25)
    assert evidence(second)[0] == pytest.approx([before + new for before, new in zip(evidence(first)[0], added, strict=True)])


@pytest.mark.parametrize("kind", ["errors", "latency"])
def test_requests_are_compared_by_how_they_are_sent(kind: str) -> None:
    spec = spec_of(SignalSpec(name="errors", kind=kind, alpha=0.004))
    *_, (_, look) = looked(spec, [[heard((20, 9100), (3, 900))], [heard((29, 9101), (4, 900))]])
    assert look.judged.signals[0].ratios == pytest.approx(e_process.worse(29, 4, 0.1, 1.25))


def test_users_are_compared_by_how_many_of_them_were_labelled_too() -> None:
    spec = SPEC.model_copy(update={"unit": Unit.USER, "weights": (50, 60, 100)})
    first, second = looks(((10, 300), (6, 100)), ((12, 400), (9, 300)), spec=spec)
    assert evidence(second)[1] == pytest.approx(evidence(first)[1] + e_process.as_good(2, 3, 200 / 300, 1.25))


labelled = st.integers(1, 10_000)
margins = st.floats(1, 5)
shares = st.floats(0.0001, 1)


def expected(champion: int, challenger: int, share: float, risk: float, on_champion: float, on_challenger: float) -> float:
    """Return the logarithm of what a ratio is expected to become by so many labels, of which such a share of the champion's is wrong."""
    wrong = min(share * risk, 1) / risk, min(share * risk, 1)
    factors = (1 + part * math.expm1(log) for part, log in zip(wrong, (on_champion, on_challenger), strict=True))
    return math.fsum(count * math.log(factor) for count, factor in zip((champion, challenger), factors, strict=True))


@given(labelled, labelled, margins, shares, st.floats(0.05, 1))
def test_no_labels_are_expected_to_make_worse_more_likely_up_to_the_margin(
    champion: int, challenger: int, margin: float, share: float, less: float
) -> None:
    weight = challenger / (champion + challenger)
    each = zip(e_process.worse(1, 0, weight, margin), e_process.worse(0, 1, weight, margin), strict=True)
    assert all(expected(champion, challenger, share, margin * less, *logs) <= 1e-6 for logs in each)


@given(labelled, labelled, margins, shares, st.floats(1, 20))
def test_no_labels_are_expected_to_make_as_good_more_likely_from_the_bound_on(
    champion: int, challenger: int, margin: float, share: float, more: float
) -> None:
    weight = challenger / (champion + challenger)
    logs = e_process.as_good(1, 0, weight, margin), e_process.as_good(0, 1, weight, margin)
    assert expected(champion, challenger, share, 1.5 * margin * more, *logs) <= 1e-6


few = st.integers(0, 30)
counts = st.builds(heard, st.tuples(few, few), st.tuples(few, few), st.just("wrong"))
readings = counts | st.sampled_from(Heard).map(lambda why: silent(why, "wrong"))


@given(st.lists(st.lists(readings, max_size=1), max_size=12), st.sampled_from(Unit))
def test_whatever_labels_come_a_look_can_be_judged_again_and_no_wrong_one_is_counted_without_its_label(
    minutes: list[list[Reading]], unit: Unit
) -> None:
    spec = spec_of(WRONG, unit=unit, weights=(10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 98, 99, 100), bake_minutes=0)
    told = looked(spec, minutes)
    assert canary.recompute(spec, told) == []
    nothing = Counts(units=0, bad=0)
    for before, after in pairwise(told):
        then, now = (look.judged.signals[0] for _, look in (before, after))
        anew = before[1].step != after[1].step
        for was, one in ((then.champion, now.champion), (then.challenger, now.challenger)):
            start = nothing if anew or was is None else was
            assert one is None or one.bad - start.bad <= one.units - start.units
