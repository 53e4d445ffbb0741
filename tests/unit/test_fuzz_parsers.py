"""Whatever bytes are given to a parser, it returns what was signed or raises an error of ours; nothing crashes it or fools it."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.simulators.mutations import changes
from tests.simulators.parsers import PARSERS, check

AMOUNTS = [400, pytest.param(30_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_accepts_its_good_input(name: str) -> None:
    assert check(PARSERS[name], PARSERS[name].good)


@pytest.mark.parametrize("examples", AMOUNTS)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_believes_nothing_but_what_was_signed_and_never_crashes(name: str, examples: int) -> None:
    parser = PARSERS[name]

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
    @given(changes(parser.good))
    def believed(data: bytes) -> None:
        check(parser, data)

    believed()


@pytest.mark.parametrize("name", PARSERS)
def test_the_whole_of_an_input_counts_up_to_its_last_byte(name: str) -> None:
    parser = PARSERS[name]
    for end in range(0, len(parser.good), max(1, len(parser.good) // 100)):
        check(parser, parser.good[:end])
        check(parser, parser.good[:end] + parser.good)
        check(parser, parser.good + parser.good[:end])
