"""The arithmetic of the judge, against its formulae written out and against the probabilities it rests on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canary
from aiinfra_core.canary import e_process
from aiinfra_core.domain.rollout import Look
from aiinfra_core.domain.rollout_spec import Unit
from tests.simulators.canary_looks import at_minute, heard, looked, spec_of

weights = st.floats(0.0001, 0.9)
margins = st.floats(1, 5)
at_most_one = pytest.approx(1, abs=1e-9)


@given(weights, margins)
def test_no_bad_event_is_expected_to_make_worse_more_likely_where_the_challenger_is_at_the_margin(weight: float, margin: float) -> None:
    on_challenger, on_champion = e_process.worse(0, 1, weight, margin), e_process.worse(1, 0, weight, margin)
    theta = e_process.theta(weight, margin)
    expected = [theta * math.exp(yes) + (1 - theta) * math.exp(no) for yes, no in zip(on_challenger, on_champion, strict=True)]
    assert expected == [at_most_one] * len(e_process.RISKS)


@given(weights, margins, st.floats(0.05, 1))
def test_a_better_challenger_only_lowers_it(weight: float, margin: float, share: float) -> None:
    theta = e_process.theta(weight, margin * share)
    on_challenger, on_champion = e_process.worse(0, 1, weight, margin), e_process.worse(1, 0, weight, margin)
    ones = (theta * math.exp(yes) + (1 - theta) * math.exp(no) for yes, no in zip(on_challenger, on_champion, strict=True))
    assert all(one <= 1 + 1e-9 for one in ones)


@given(weights, margins, st.floats(1, 20))
def test_no_bad_event_is_expected_to_make_as_good_more_likely_where_the_challenger_is_clearly_worse(
    weight: float, margin: float, worse: float
) -> None:
    theta = e_process.theta(weight, 1.5 * margin * worse)
    yes, no = (math.exp(e_process.as_good(*counts, weight, margin)) for counts in ((0, 1), (1, 0)))
    assert theta * yes + (1 - theta) * no <= 1 + 1e-9


@given(st.integers(0, 300), st.integers(0, 300), weights, margins)
def test_the_evidence_is_the_mean_of_five_likelihood_ratios(champion: int, challenger: int, weight: float, margin: float) -> None:
    theta = {risk: weight * risk / (weight * risk + 1 - weight) for risk in (margin, *(margin * r for r in (1.5, 2, 3, 5, 10)))}
    null = theta.pop(margin)
    logs = [challenger * math.log(of / null) + champion * math.log((1 - of) / (1 - null)) for of in theta.values()]
    most = max(logs)
    expected = most + math.log(math.fsum(math.exp(log - most) for log in logs) / 5)
    assert e_process.mixed(e_process.worse(champion, challenger, weight, margin)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_the_evidence_of_a_wrong_split_is_expected_to_be_one_where_it_is_right(weight: float) -> None:
    units = 12
    expected = math.fsum(
        math.comb(units, mine)
        * weight**mine
        * (1 - weight) ** (units - mine)
        * math.exp(e_process.sample_ratio(units - mine, mine, weight))
        for mine in range(units + 1)
    )
    assert expected == at_most_one


def test_ten_to_the_twelve_units_are_no_trouble() -> None:
    assert e_process.sample_ratio(9 * 10**11, 10**11, 0.1) < 0
    assert e_process.sample_ratio(10**12, 0, 0.1) > 10**9
    (_, look), *_ = looked(spec_of(), [[heard((10**9, 9 * 10**11), (10**9, 10**11))]])
    assert look.verdict == "rollback"
    assert "10^" in look.reason


def test_evidence_of_requests_adds_up_over_steps_of_different_weight() -> None:
    spec, counts = spec_of(bake_minutes=0), heard((5, 500), (9, 500))
    first = canary.judge(spec, at_minute(1), None, [heard((20, 9000), (1, 1000))])
    second, alone = (canary.judge(spec, at_minute(2, number=2, step=1), previous, [counts]) for previous in (first, None))
    added = [sum(ratios) for ratios in zip(ratios_of(first), ratios_of(alone), strict=True)]
    assert ratios_of(second) == pytest.approx(added)
    assert second.judged.signals[0].rollback == pytest.approx(e_process.mixed(tuple(added)))
    assert second.judged.signals[0].advance == pytest.approx(alone.judged.signals[0].advance)


def test_evidence_of_users_begins_anew_in_each_step_at_a_share_of_the_alpha() -> None:
    spec, counts = spec_of(unit=Unit.USER, bake_minutes=0), heard((5, 500), (9, 500))
    first = canary.judge(spec, at_minute(1), None, [heard((20, 9000), (1, 1000))])
    second, alone = (canary.judge(spec, at_minute(2, number=2, step=1), previous, [counts]) for previous in (first, None))
    assert second.judged == alone.judged
    assert second.judged.signals[0].rollback_at == pytest.approx(math.log(2 / 0.004))


def test_users_are_compared_by_those_still_at_risk() -> None:
    spec = spec_of(unit=Unit.USER, weights=(50, 100))
    first, second = heard((0, 100), (40, 100)), heard((6, 110), (52, 112))
    (_, look), (_, later) = looked(spec, [[first], [second]])
    at_risk = 112 - 40, 110 - 0
    added = e_process.worse(6, 12, at_risk[0] / sum(at_risk), 1.25)
    assert ratios_of(later) == pytest.approx([before + new for before, new in zip(ratios_of(look), added, strict=True)])


def test_a_bad_user_says_nothing_where_only_one_arm_is_at_risk() -> None:
    spec = spec_of(unit=Unit.USER, weights=(50, 100), kill_units=1000)
    (_, first), (_, second) = looked(spec, [[heard((0, 20), (20, 20))], [heard((9, 20), (20, 20))]])
    assert ratios_of(first) == ratios_of(second)


def test_nor_does_a_look_at_which_all_users_were_bad_before() -> None:
    spec = spec_of(unit=Unit.USER, weights=(50, 100), kill_units=1000)
    (_, first), (_, second) = looked(spec, [[heard((20, 20), (20, 20))], [heard((20, 20), (20, 20))]])
    assert first.judged == second.judged


def ratios_of(look: Look) -> tuple[float, ...]:
    return look.judged.signals[0].ratios
