"""What a signal says that a database is asked for: one statement of the operator's, which only reads, and of which little is believed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from aiinfra_core import signals
from aiinfra_core.domain.rollout import Counts, Heard, Reading
from aiinfra_core.domain.rollout_spec import Query, SignalKind, SignalSpec, SourceKind
from aiinfra_core.settings import Settings
from tests.simulators.asked_signals import BEGAN, CHALLENGER, CHAMPION, at, rollout
from tests.simulators.postgres import made_database

COUNTED = """
  SELECT CASE served_by WHEN {champion} THEN 'champion' WHEN {challenger} THEN 'challenger' END AS arm,
    count(*) AS units, count(*) FILTER (WHERE failed AND note LIKE '%') AS bad, max(served_at) AS newest
  FROM answered WHERE model = {model} AND environment = {environment} AND served_at BETWEEN {since} AND {until} GROUP BY served_by;
"""


def signal(statement: str | None, **changes: Any) -> SignalSpec:
    query = Query(kind=SourceKind.SQL, statement=statement)
    return SignalSpec(**{"name": "quality", "kind": SignalKind.QUALITY, "alpha": 0.003, "source": "labels", "query": query} | changes)


@pytest.fixture(scope="module")
def url(postgres_server: str) -> Iterator[str]:
    """Give a database of an operator's, with an answered request a second since before the step."""
    with made_database(postgres_server) as made:
        with psycopg.connect(made) as connection:
            connection.execute(
                "CREATE TABLE answered (served_by uuid, model text, environment text, served_at timestamptz, failed bool, note text)"
            )
            connection.execute(
                "INSERT INTO answered SELECT CASE WHEN n %% 10 = 0 THEN %(challenger)s ELSE %(champion)s END, 'rainfall', 'prod', "
                "%(began)s::timestamptz + make_interval(secs => n), n %% 100 < 2, '' FROM generate_series(-600, 1800) AS n",
                {"champion": CHAMPION, "challenger": CHALLENGER, "began": BEGAN},
            )
        yield made


def ask(url: str, wanted: SignalSpec, minutes: float = 10, previous: Reading | None = None, **changes: Any) -> Reading:
    settings = Settings(signals_database_url=url, signal_seconds=changes.pop("seconds", 20))
    return signals.read(settings, rollout(wanted, **changes), wanted, previous, at(minutes))


def test_counts_are_those_since_the_step_began(url: str) -> None:
    reading = ask(url, signal(COUNTED))
    assert (reading.heard, reading.query, reading.through) == (Heard.OK, COUNTED, at(10))
    assert (reading.champion, reading.challenger) == (Counts(units=549, bad=6), Counts(units=62, bad=6))


def test_answers_can_be_counted_once_they_have_an_age(url: str) -> None:
    aged = COUNTED.replace("AND {until}", "AND {until} - interval '4 minutes'").replace(", max(served_at) AS newest", "")
    now, then = ask(url, signal(aged), 10), ask(url, signal(COUNTED), 6)
    assert (now.heard, now.champion, now.challenger) == (Heard.OK, then.champion, then.challenger)
    assert ask(url, signal(aged), 3).heard is Heard.NO_DATA


def test_rows_that_stopped_coming_are_late(url: str) -> None:
    assert ask(url, signal(COUNTED), 31).heard is Heard.OK
    late = ask(url, signal(COUNTED), 40)
    assert (late.heard, late.champion) == (Heard.LATE, None)
    assert "is too old" in (late.reason or "")


def test_counting_begins_half_a_minute_after_the_step(url: str) -> None:
    assert ask(url, signal(COUNTED), -0.5).heard is Heard.NO_DATA


ARMS = "SELECT * FROM (VALUES ('champion', {0}), ('challenger', {1})) AS t (arm, units, bad)"
UNUSABLE: dict[str, tuple[str, Heard, str]] = {
    "nothing": ("SELECT 'champion' AS arm, 1 AS units, 0 AS bad WHERE false", Heard.NO_DATA, "nothing was counted of the champion"),
    "one arm": ("SELECT 'champion' AS arm, 1 AS units, 0 AS bad", Heard.NO_DATA, "nothing was counted of the challenger"),
    "NULL": (ARMS.format("9, 1", "9, NULL::int"), Heard.NO_DATA, "NULL"),
    "NaN": (ARMS.format("9, 1", "9, 'NaN'::float"), Heard.NOT_A_NUMBER, "nan"),
    "NaN, exactly": (ARMS.format("9, 1", "9, 'NaN'::numeric"), Heard.NOT_A_NUMBER, "NaN"),
    "infinite": (ARMS.format("9, 1", "9, 'Infinity'::float"), Heard.NOT_A_NUMBER, "inf"),
    "negative": (ARMS.format("9, 1", "9, -1"), Heard.NEGATIVE, "-1 units"),
    "a part of one": (ARMS.format("9, 1", "9, 0.5"), Heard.MALFORMED, "0.5"),
    "text": (ARMS.format("9, '1'", "9, '1'"), Heard.MALFORMED, "str for a count"),
    "more bad than there are": (ARMS.format("9, 1", "9, 10"), Heard.MALFORMED, "10 of 9"),
    "too many to be told": (ARMS.format("9, 1", "9007199254740993, 1"), Heard.MALFORMED, "more units"),
    "another arm": ("SELECT 'both' AS arm, 1 AS units, 0 AS bad", Heard.MALFORMED, "answered another arm"),
    "an arm twice": ("SELECT 'champion' AS arm, 1 AS units, 0 AS bad FROM generate_series(1, 2)", Heard.MALFORMED, "several rows"),
    "very many rows": (
        "SELECT 'champion' AS arm, generate_series(1, 1000000000) AS units, 0 AS bad",
        Heard.MALFORMED,
        "several rows",
    ),
    "no such column": ("SELECT 'champion' AS arm, 1 AS units", Heard.MALFORMED, "answers no bad"),
    "no such table": ("SELECT arm, units, bad FROM nowhere", Heard.MALFORMED, "SQLSTATE 42P01 (undefined table)"),
    "newest that is no time": (ARMS.format("9, 1", "9, 1") + " CROSS JOIN (SELECT 1 AS newest) AS n", Heard.MALFORMED, "no timestamp"),
    "newest that is yet to come": (
        ARMS.format("9, 1", "9, 1") + " CROSS JOIN (SELECT timestamptz '9000-01-01' AS newest) AS n",
        Heard.MALFORMED,
        "yet to come",
    ),
    "newest beyond all times": (
        ARMS.format("9, 1", "9, 1") + " CROSS JOIN (SELECT timestamptz 'infinity' AS newest) AS n",
        Heard.MALFORMED,
        "data error",
    ),
    "more than a double holds": (ARMS.format("9, 1", "9, 10::numeric ^ 400"), Heard.NOT_A_NUMBER, "for a count"),
    "another placeholder": ("SELECT {secret}", Heard.MALFORMED, "{secret}"),
    "a change": (
        "DELETE FROM answered RETURNING 'champion' AS arm, 1 AS units, 0 AS bad",
        Heard.MALFORMED,
        "SQLSTATE 42601 (syntax error)",
    ),
    "a change within": (
        "WITH gone AS (DELETE FROM answered RETURNING 1) SELECT 'champion' AS arm, 1 AS units, 0 AS bad",
        Heard.MALFORMED,
        "SQLSTATE 0A000 (feature not supported)",
    ),
    "a second statement": (
        "SELECT 1) AS one; DELETE FROM answered; SELECT * FROM (SELECT 2",
        Heard.MALFORMED,
        "SQLSTATE 42601 (syntax error)",
    ),
    "a function that changes": (
        "SELECT 'champion' AS arm, nextval('counted') AS units, 0 AS bad",
        Heard.MALFORMED,
        "SQLSTATE 25006 (read only sql transaction)",
    ),
}


@pytest.mark.parametrize(("statement", "heard", "why"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_answer_that_is_not_clear_is_not_believed(url: str, statement: str, heard: Heard, why: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SEQUENCE IF NOT EXISTS counted")
    reading = ask(url, signal(statement))
    assert (reading.heard, reading.champion, reading.challenger) == (heard, None, None)
    assert why in (reading.reason or "")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM answered").fetchone() == (2401,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT note::int AS arm, 1 AS units, 0 AS bad FROM (VALUES ('patient 4711')) AS t (note)",
        "SELECT 'champion' AS arm, 1 AS units, ('patient 4711' || {model})::date IS NULL AS bad",
        "SELECT 'patient 4711' AS arm, 1 AS units, 0 AS bad",
    ],
)
def test_what_stands_in_a_row_gets_into_no_reason(url: str, statement: str, caplog: pytest.LogCaptureFixture) -> None:
    reading = ask(url, signal(statement))
    assert reading.heard is Heard.MALFORMED
    assert "patient" not in (reading.reason or "") + caplog.text


def test_counts_that_went_down_are_not_believed(url: str) -> None:
    wanted = signal(COUNTED)
    later = ask(url, wanted, 20)
    assert ask(url, wanted, 21, later).heard is Heard.OK
    assert (ask(url, wanted, 10, later).heard, ask(url, wanted, 10).heard) == (Heard.DECREASING, Heard.OK)


def test_a_latency_needs_seconds_which_the_statement_may_use(url: str) -> None:
    statement = ARMS.format("9, 1", "9, (CASE WHEN {seconds} = 0.25 THEN 3 END)")
    latency = signal(statement, kind=SignalKind.LATENCY)
    assert "needs `seconds`" in (ask(url, latency).reason or "")
    reading = ask(url, latency.model_copy(update={"seconds": 0.25}))
    assert (reading.heard, reading.seconds, reading.challenger) == (Heard.OK, 0.25, Counts(units=9, bad=3))


def test_a_statement_that_takes_too_long_is_given_up_there_too(url: str) -> None:
    reading = ask(url, signal("SELECT 'champion' AS arm, 1 AS units, 0 AS bad, pg_sleep(60)"), seconds=0.5)
    assert (reading.heard, "0.5 s" in (reading.reason or "")) == (Heard.UNREACHABLE, True)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_sleep(0.3)")
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' AND state = 'active'"
        )
        assert connection.execute(f"{asked} AND pid <> pg_backend_pid()").fetchone() == (0,)


def test_without_a_database_a_signal_says_which_setting_is_missing() -> None:
    wanted = signal(COUNTED)
    reading = signals.read(Settings(), rollout(wanted), wanted, None, at(10) + timedelta(seconds=1))
    assert (reading.heard, "AI_INFRA_SIGNALS_DATABASE_URL" in (reading.reason or "")) == (Heard.UNREACHABLE, True)
