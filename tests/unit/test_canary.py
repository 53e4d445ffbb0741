"""What a look at a rollout says, and why: the first that applies of going back, being silent, being late, and going on."""

import math
import re
from datetime import timedelta

import pytest

from aiinfra_core import canary
from aiinfra_core.domain.rollout import Counts, Heard, Reading, Verdict
from aiinfra_core.domain.rollout_spec import Inconclusive, SignalSpec
from tests.simulators.canary_looks import BEGAN, ERRORS, LATENCY, at_minute, heard, looked, silent, spec_of

GOOD = heard((600, 54_000), (66, 6000))
"""As good as the champion, of enough units to say so."""
BAD = heard((54, 5400), (40, 600))
SPLIT_WRONGLY = heard((54, 5400), (6, 1200))
WRONG = SignalSpec(name="wrong", kind="quality", alpha=0.003)
BOTH = spec_of(ERRORS, LATENCY, bake_minutes=5)


def both(counts: Reading) -> list[Reading]:
    return [counts, counts.model_copy(update={"signal": "latency"})]


def test_a_challenger_as_good_as_the_champion_goes_on() -> None:
    look = canary.judge(BOTH, at_minute(5), None, both(GOOD))
    assert look.verdict is Verdict.ADVANCE
    assert look.reason.startswith("every signal has its evidence: errors: bad less than 1.875 times as often as the champion (")
    assert "challenger 66 of 6,000 units (1.10%), champion 600 of 54,000 units (1.11%)" in look.reason


def test_it_does_not_before_the_step_has_taken_its_time() -> None:
    look = canary.judge(BOTH, at_minute(4.9), None, both(GOOD))
    assert look.verdict is Verdict.HOLD
    assert look.reason == "4 min 54 s of at least 5 min have passed"


@pytest.mark.parametrize(
    ("bake", "minutes", "told"),
    [(1, 40 / 60, "40 s of at least 1 min"), (1.5, 1, "1 min of at least 1 min 30 s"), (150, 65.4, "1 h 5 min of at least 2 h 30 min")],
)
def test_times_are_told_in_the_units_that_fit(bake: float, minutes: float, told: str) -> None:
    look = canary.judge(spec_of(bake_minutes=bake), at_minute(minutes, heard_at=BEGAN + timedelta(minutes=minutes)), None, [GOOD])
    assert look.reason == f"{told} have passed"


@pytest.mark.parametrize(
    ("bad", "evidence"), [((90, 100), "more than 10^9 where 250 is the limit"), ((12, 16), "2,430,000 where 250 is the limit")]
)
def test_evidence_is_told_in_one_notation_however_much_it_is(bad: tuple[int, int], evidence: str) -> None:
    look = canary.judge(spec_of(kill_units=10**6), at_minute(0.1), None, [heard((bad[0], 5400), (bad[1], 600))])
    assert f"the evidence is {evidence}" in look.reason


def test_it_does_not_while_it_is_paused() -> None:
    look = canary.judge(BOTH, at_minute(9, paused=True), None, both(GOOD))
    assert look.verdict is Verdict.HOLD
    assert "paused" in look.reason


def test_it_does_not_while_one_signal_lacks_evidence() -> None:
    few = heard((6, 540), (1, 60), "latency")
    look = canary.judge(BOTH, at_minute(9), None, [GOOD, few])
    assert look.verdict is Verdict.HOLD
    assert "not enough evidence yet" in look.reason
    assert re.search(r"latency \([0-9.]+ where 100 is the limit; bad in this step: ", look.reason)
    assert "errors" not in look.reason


def test_it_does_not_without_a_single_bad_unit_however_many_were_good() -> None:
    none = heard((0, 9 * 10**8), (0, 10**8))
    assert canary.judge(BOTH, at_minute(9), None, both(none)).verdict is Verdict.HOLD


@pytest.mark.parametrize("paused", [False, True])
def test_a_worse_challenger_goes_back_at_any_look_and_when_paused(paused: bool) -> None:
    look = canary.judge(BOTH, at_minute(0.1, paused=paused), None, [BAD, both(GOOD)[1]])
    assert look.verdict is Verdict.ROLLBACK
    assert look.reason.startswith("errors: the challenger is worse than 1.25 times the champion: the evidence is ")
    assert " where 250 is the limit; bad in this step: challenger 40 of 600 units (6.67%)" in look.reason


@pytest.mark.parametrize("why", [why for why in Heard if why is not Heard.OK])
def test_it_goes_back_by_one_signal_while_another_says_nothing(why: Heard) -> None:
    assert canary.judge(BOTH, at_minute(60), None, [BAD, silent(why, "latency")]).verdict is Verdict.ROLLBACK


@pytest.mark.parametrize("why", [why for why in Heard if why is not Heard.OK])
def test_nothing_goes_on_while_a_signal_says_nothing_usable(why: Heard) -> None:
    look = canary.judge(BOTH, at_minute(9), None, [GOOD, silent(why, "latency", "it is so")])
    assert look.verdict is Verdict.HOLD
    assert look.reason == f"latency: {why.value}, it is so"
    assert canary.was_heard(look) == (why is Heard.WARMING_UP)


def test_what_was_not_read_is_no_data() -> None:
    look = canary.judge(BOTH, at_minute(9), None, [GOOD])
    assert look.readings[1] == silent(Heard.NO_DATA, "latency", "it was not read")


def test_half_of_twenty_failing_goes_back_whatever_the_odds() -> None:
    spec = spec_of(kill_share=0.5, kill_units=20)
    worst = heard((90, 180), (10, 20))
    look = canary.judge(spec, at_minute(0.1), None, [worst])
    assert (look.verdict, look.judged.signals[0].rollback < look.judged.signals[0].rollback_at) == (Verdict.ROLLBACK, True)
    assert look.reason == "errors: 10 of 20 units (50.00%) of the challenger failed in this step; 50% sends it back at once"


@pytest.mark.parametrize(("bad", "units"), [(9, 20), (10, 19)])
def test_fewer_than_that_do_not(bad: int, units: int) -> None:
    assert canary.judge(spec_of(), at_minute(0.1), None, [heard((90, 180), (bad, units))]).verdict is Verdict.HOLD


def test_slow_answers_are_not_failures() -> None:
    assert canary.judge(spec_of(LATENCY), at_minute(0.1), None, [heard((90, 180), (10, 20), "latency")]).verdict is Verdict.HOLD


@pytest.mark.parametrize("counts", [SPLIT_WRONGLY, heard((54, 5400), (100, 1200)), heard((600, 54_000), (66, 9000))])
def test_traffic_that_is_split_wrongly_proves_nothing(counts: Reading) -> None:
    look = canary.judge(spec_of(), at_minute(20, heard_at=BEGAN + timedelta(minutes=10)), None, [counts])
    assert look.verdict is Verdict.HOLD
    assert "traffic is not split as it should be, 10 % to the challenger (errors: " in look.reason
    assert "where 1,000 is the limit, so the arms cannot be compared" in look.reason
    assert not canary.was_heard(look)


@pytest.mark.parametrize("wrong", [0, 1])
def test_one_signal_whose_traffic_is_split_wrongly_is_enough_at_a_limit_for_all_of_them(wrong: int) -> None:
    readings = both(GOOD)
    readings[wrong] = both(heard((600, 54_000), (66, 9000)))[wrong]
    look = canary.judge(BOTH, at_minute(9), None, readings)
    assert (look.verdict, canary.was_heard(look)) == (Verdict.HOLD, False)
    assert look.judged.sample_ratio_at == pytest.approx(math.log(2 / 0.001))


def test_labels_that_come_later_for_one_arm_are_no_wrong_split() -> None:
    late = heard((600, 54_000), (20, 1800), "wrong")
    look = canary.judge(spec_of(ERRORS, WRONG), at_minute(9), None, [GOOD, late])
    assert look.judged.sample_ratio < look.judged.sample_ratio_at == pytest.approx(math.log(1 / 0.001))
    alone = canary.judge(spec_of(WRONG), at_minute(9), None, [late])
    assert alone.judged.sample_ratio >= alone.judged.sample_ratio_at


@pytest.mark.parametrize("guard", [heard((0, 54_000), (0, 6000), "latency"), heard((2700, 54_000), (330, 6000), "latency")])
def test_a_signal_that_only_sends_back_needs_no_evidence_to_go_on(guard: Reading) -> None:
    only_back = LATENCY.model_copy(update={"advances": False})
    look = canary.judge(spec_of(ERRORS, only_back), at_minute(20), None, [GOOD, guard])
    assert look.verdict is Verdict.ADVANCE
    assert "latency" not in look.reason


def test_but_it_has_to_be_heard_and_it_sends_back() -> None:
    spec = spec_of(ERRORS, LATENCY.model_copy(update={"advances": False}))
    assert canary.judge(spec, at_minute(20), None, [GOOD, silent(Heard.LATE, "latency")]).verdict is not Verdict.ADVANCE
    assert canary.judge(spec, at_minute(20), None, [GOOD, both(BAD)[1]]).verdict is Verdict.ROLLBACK


def test_a_signal_that_is_silent_sends_nothing_back_by_what_it_had_said() -> None:
    wrong = canary.judge(BOTH, at_minute(1), None, both(heard((54, 5400), (100, 1200))))
    assert wrong.judged.signals[0].rollback > wrong.judged.signals[0].rollback_at
    look = canary.judge(BOTH, at_minute(2, number=2, step=1), wrong, [silent(Heard.LATE), silent(Heard.LATE, "latency")])
    assert look.verdict is Verdict.HOLD


def test_nor_does_it_keep_a_challenger_that_fails() -> None:
    assert canary.judge(spec_of(), at_minute(1), None, [heard((54, 5400), (900, 1200))]).verdict is Verdict.ROLLBACK


@pytest.mark.parametrize("readings", [[GOOD, silent(Heard.UNREACHABLE, "latency", "refused")], both(SPLIT_WRONGLY)])
def test_what_is_silent_too_long_is_inconclusive(readings: list[Reading]) -> None:
    heard_at = BEGAN + timedelta(minutes=60)
    early, late = (canary.judge(BOTH, at_minute(minute, heard_at=heard_at), None, readings) for minute in (74.9, 75))
    assert (early.verdict, late.verdict) == (Verdict.HOLD, Verdict.INCONCLUSIVE)
    assert late.reason == f"nothing usable was heard for 15 min: {early.reason}"


def test_the_silence_before_a_step_is_not_held_against_it() -> None:
    seen = at_minute(61, heard_at=BEGAN, step_started_at=BEGAN + timedelta(minutes=60))
    assert canary.judge(spec_of(), seen, None, [silent(Heard.NO_DATA)]).verdict is Verdict.HOLD


def test_a_champion_seen_too_little_is_not_silence() -> None:
    assert canary.judge(spec_of(), at_minute(600), None, [silent(Heard.WARMING_UP)]).verdict is Verdict.HOLD


def test_the_deadline_returns_to_the_champion_even_if_a_minute_later_it_would_not() -> None:
    minutes = 24 * 60
    seen = at_minute(minutes, heard_at=BEGAN + timedelta(minutes=minutes - 1))
    look = canary.judge(BOTH, seen, None, both(GOOD))
    assert (look.verdict, look.reason) == (Verdict.INCONCLUSIVE, "24 h have passed without the evidence to go on")
    assert canary.judge(spec_of(when_inconclusive=Inconclusive.HOLD), seen, None, [GOOD]).verdict is Verdict.HOLD
    assert canary.judge(spec_of(when_inconclusive=Inconclusive.HOLD), seen, None, [BAD]).verdict is Verdict.ROLLBACK


@pytest.mark.parametrize("fewer", [heard((54, 5400), (5, 601)), heard((54, 5400), (6, 599)), heard((53, 5401), (6, 601))])
def test_counts_that_go_down_are_not_believed(fewer: Reading) -> None:
    _, (_, look) = looked(spec_of(), [[heard((54, 5400), (6, 600))], [fewer]])
    assert (look.verdict, look.readings[0].heard, look.readings[0].challenger) == (Verdict.HOLD, Heard.DECREASING, None)
    assert "counts went down within a step" in look.reason


def test_nor_are_they_after_a_look_at_which_nothing_was_heard() -> None:
    *_, (_, look) = looked(spec_of(), [[heard((54, 5400), (6, 600))], [silent(Heard.LATE)], [heard((54, 5400), (6, 599))]])
    assert look.readings[0].heard is Heard.DECREASING


def test_a_new_step_counts_from_nothing() -> None:
    first = canary.judge(BOTH, at_minute(5), None, both(GOOD))
    second = canary.judge(BOTH, at_minute(6, number=2, step=1), first, both(heard((3, 300), (3, 300))))
    assert second.readings[0].heard is Heard.OK
    assert second.judged.signals[0].challenger == Counts(units=300, bad=3)


def test_a_signal_that_comes_back_is_counted_from_where_it_was() -> None:
    counts = [heard((54, 5400), (6, 600)), silent(Heard.UNREACHABLE), heard((108, 10_800), (12, 1200))]
    without = [counts[0], counts[2]]
    with_gap, straight = (looked(spec_of(), [[reading] for reading in told])[-1][1] for told in (counts, without))
    assert with_gap.judged.signals[0].rollback == pytest.approx(straight.judged.signals[0].rollback)
    assert with_gap.judged.signals[0].advance == pytest.approx(straight.judged.signals[0].advance)


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (heard((7, 6), (0, 1)), Heard.MALFORMED),
        (heard((0, 0), (0, 0)), Heard.NO_DATA),
        (Reading(signal="errors", heard=Heard.OK, champion=Counts(units=1, bad=0)), Heard.MALFORMED),
        (Reading(signal="errors", heard=Heard.LATE, champion=Counts(units=1, bad=0), reason="old"), Heard.LATE),
    ],
)
def test_impossible_counts_are_not_believed(reading: Reading, why: Heard) -> None:
    look = canary.judge(spec_of(), at_minute(1), None, [reading])
    assert (look.verdict, look.readings[0].heard, look.readings[0].champion) == (Verdict.HOLD, why, None)
    assert look.readings[0].reason


def test_the_last_step_below_all_traffic_ends_in_an_advance() -> None:
    spec = spec_of(weights=(50, 100), bake_minutes=0)
    look = canary.judge(spec, at_minute(1), None, [heard((300, 30_000), (300, 30_000))])
    assert (look.verdict, look.weight) == (Verdict.ADVANCE, 5000)
