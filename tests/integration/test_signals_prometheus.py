"""What a signal says that Prometheus is asked for: units since the step began, through restarts and gaps, or why it is not known."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import signals
from aiinfra_core.domain.rollout import Counts, Heard, Reading
from aiinfra_core.domain.rollout_spec import SignalSpec
from aiinfra_core.settings import Settings
from tests.simulators import prometheus
from tests.simulators.asked_signals import BEGAN, BUCKETS, ERRORS, LATENCY, PROMETHEUS, at, rising, rollout, scraped, served
from tests.simulators.prometheus import Scraped

REAL = pytest.param("real", marks=[pytest.mark.slow, pytest.mark.skipif(not prometheus.installed(), reason="Prometheus is not installed")])
Asking = Callable[..., Reading]


@pytest.fixture(params=["simulated", REAL])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Sequence[Scraped]], Asking]]:
    """Start Prometheus with what was scraped; give what asks it for a signal so many minutes after counting began."""
    with ExitStack() as stack:

        def start(series: Sequence[Scraped]) -> Asking:
            real = request.param == "real"
            url = stack.enter_context(prometheus.real(series, tmp_path / "prometheus") if real else prometheus.simulated(series))
            settings = Settings(prometheus_url=url, signal_seconds=20)

            def ask(minutes: float, signal: SignalSpec = ERRORS, previous: Reading | None = None, **changes: Any) -> Reading:
                return signals.read(settings, rollout(signal, **changes), signal, previous, at(minutes))

            return ask

        yield start


def numbers(reading: Reading) -> tuple[int, int, int, int]:
    assert reading.heard is Heard.OK, reading
    assert reading.champion is not None and reading.challenger is not None
    return reading.champion.units, reading.champion.bad, reading.challenger.units, reading.challenger.bad


def test_what_was_counted_before_the_step_does_not_count(given: Any) -> None:
    ask = given(served())
    assert numbers(ask(10)) == (9 * 600, 540, 600, 60)


def test_a_look_asks_only_for_what_came_since_the_one_before_and_says_the_same(given: Any) -> None:
    ask = given(served())
    steps: list[Reading | None] = [None]
    for minutes in (1, 2.1, 2.15, 7, 30):
        steps.append(ask(minutes, previous=steps[-1]))
    assert steps[-1] is not None and numbers(steps[-1]) == numbers(ask(30)) == (9 * 1800, 1620, 1800, 180)
    assert steps[1] is not None and steps[1].through == at(1) - timedelta(seconds=10)


def test_a_process_that_restarts_is_counted_through_it(given: Any) -> None:
    def restarting(second: int) -> float:
        return 5000 + 10 * second if second < 300 else 10 * (second - 300)

    ask = given([*served(challenger=0)[:2], scraped("served_total", restarting, arm="challenger")])
    assert numbers(ask(10))[2] == 10 * (285 + 300)  # what it counted between the last scrape and the restart nobody knows


def test_a_process_that_begins_within_the_step_counts_from_zero(given: Any) -> None:
    new = [
        scraped("served_total", lambda second: second - 105, begins=120, arm="challenger", pod="new"),
        scraped("failed_total", lambda second: 1 + second // 300, begins=120, arm="challenger", pod="new"),
    ]
    assert numbers(given([*served(), *new])(10))[2:] == (600 + 495, 60 + 3)


def test_a_process_that_was_out_of_sight_does_not_count_its_past(given: Any) -> None:
    hidden = scraped("served_total", lambda second: 1_000_000 + 2 * second, begins=-3600, ends=600, arm="champion", pod="hidden")
    seen = [sample for sample in hidden.samples if not -900 <= sample[0] - BEGAN.timestamp() - 30 <= 200]
    ask = given([*served(), Scraped(hidden.name, hidden.labels, seen)])
    assert numbers(ask(10))[0] == 9 * 600 + 2 * (600 + 915)  # all since it was last seen, and nothing before


def test_an_arm_nobody_counts_is_no_data(given: Any) -> None:
    reading = given(served()[:2])(10)
    assert (reading.heard, reading.champion, reading.reason) == (Heard.NO_DATA, None, "Prometheus has no samples of the challenger")
    assert reading.query == f"{PROMETHEUS.units} | {PROMETHEUS.bad}"


def test_an_arm_that_answered_nothing_yet_is_no_data(given: Any) -> None:
    assert given(served(challenger=0))(10).heard is Heard.NO_DATA


def test_counting_begins_half_a_minute_after_the_step(given: Any) -> None:
    ask = given(served())
    assert {ask(minutes).heard for minutes in (-0.6, 0)} == {Heard.NO_DATA}
    assert ask(0.5).heard is Heard.OK


def test_samples_that_stopped_are_late(given: Any) -> None:
    series = [scraped("served_total", lambda second: 1000 + second, ends=300, arm=arm) for arm in ("champion", "challenger")]
    ask = given(series)
    assert ask(7.9).heard is Heard.OK
    late = ask(9)
    assert (late.heard, late.reason) == (Heard.LATE, "the newest that was counted is 240 s old; more than 180 s is too old")


@pytest.mark.parametrize(("value", "heard"), [("NaN", Heard.NOT_A_NUMBER), ("Inf", Heard.NOT_A_NUMBER), ("-5", Heard.NEGATIVE)])
def test_what_is_no_counter_is_not_believed(given: Any, value: str, heard: Heard) -> None:
    ask = given([*served()[:2], scraped("served_total", lambda _second: float(value), arm="challenger")])
    assert ask(10).heard is heard


def test_parts_of_a_unit_are_not_counted(given: Any) -> None:
    ask = given([*served()[:2], scraped("served_total", lambda second: 1000 + second / 7, arm="challenger")])
    assert (ask(10).heard, "no number of units" in (ask(10).reason or "")) == (Heard.MALFORMED, True)


def test_more_bad_ones_than_there_are_is_not_believed(given: Any) -> None:
    assert given(served(failing=(0.1, 2)))(10).heard is Heard.MALFORMED


def test_a_query_that_selects_no_counters_is_refused_with_what_prometheus_says(given: Any) -> None:
    summed = ERRORS.model_copy(update={"query": PROMETHEUS.model_copy(update={"units": 'sum(served_total{arm="{arm}"})'})})
    reading = given(served())(10, summed)
    assert reading.heard is Heard.MALFORMED
    assert reading.reason is not None and reading.reason.startswith("Prometheus refused: HTTP 400, ")


def histogram(arm: str, slow: float, bounds: Sequence[str] = ("0.1", "0.5", "+Inf"), pod: str = "one") -> list[Scraped]:
    """Return buckets of ten units a second, of which a share is slower than half a second."""
    below = {"0.1": 0.5, "0.5": 1 - slow, "+Inf": 1.0}
    return [scraped("seconds_bucket", rising(10 * below[bound], 7000), arm=arm, pod=pod, le=bound) for bound in bounds]


def test_a_latency_is_frozen_at_the_bucket_its_quantile_is_in_and_counted_above_it(given: Any) -> None:
    ask = given([*histogram("champion", 0.04), *histogram("challenger", 0.2)])
    first = ask(0.25, LATENCY)
    assert (first.heard, first.seconds) == (Heard.WARMING_UP, None)
    known = ask(1, LATENCY)
    assert (known.heard, known.seconds, known.champion) == (Heard.WARMING_UP, 0.5, None)
    reading = ask(10, LATENCY, known, frozen={"latency": 0.5})
    assert (numbers(reading), reading.seconds, reading.query) == ((6000, 240, 6000, 1200), 0.5, BUCKETS.buckets)


def test_seconds_of_the_signal_are_those_of_the_next_bucket(given: Any) -> None:
    ask = given([*histogram("champion", 0.04), *histogram("challenger", 0.2)])
    reading = ask(10, LATENCY.model_copy(update={"seconds": 0.05}))
    assert (numbers(reading)[1], reading.seconds) == (3000, 0.1)
    assert ask(10, LATENCY.model_copy(update={"seconds": 0.7})).heard is Heard.MALFORMED


def test_buckets_that_not_all_processes_have_are_not_used(given: Any) -> None:
    coarse = histogram("challenger", 0.2, bounds=("0.5", "+Inf"), pod="two")
    ask = given([*histogram("champion", 0.04), *histogram("challenger", 0.2), *coarse])
    assert ask(10, LATENCY.model_copy(update={"seconds": 0.05})).seconds == 0.5


def test_buckets_without_a_total_are_not_believed(given: Any) -> None:
    ask = given([*histogram("champion", 0.04), *histogram("challenger", 0.2, bounds=("0.1", "0.5"))])
    assert ask(10, LATENCY, frozen={"latency": 0.5}).heard is Heard.MALFORMED


def test_counts_of_a_reading_before_are_added_to(given: Any) -> None:
    ask = given(served())
    kept = ask(1).model_copy(update={"champion": Counts(units=1_000_000, bad=7)})
    assert numbers(ask(2, previous=kept))[:2] == (1_000_000 + 540, 7 + 54)
