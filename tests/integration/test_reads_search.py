"""What artifacts and promotions can be searched by over HTTP, and that what searches are answered from follows from the records."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from aiinfra_core.settings import Settings
from tests.simulators import reading
from tests.simulators.http_story import is_problem
from tests.simulators.reading import Known

home, known = reading.home, reading.known
DERIVED = ("search_terms", "search_metrics")


def _found(known: Known, **query: Any) -> list[str]:
    names = {str(known.first.id): "first", str(known.second.id): "second", str(known.untrained.id): "untrained"}
    return [names[one["id"]] for one in known.every("/models", **query)]


def _expected(known: Known) -> Iterator[tuple[dict[str, Any], list[str]]]:
    first, second = known.first, known.second
    yield {"model": "rainfall"}, ["second", "first"]
    yield {"model": "rainfall", "version": 1}, ["first"]
    yield {"model": "snowfall", "version": 2}, []
    yield {"checksum": first.checksum}, ["first"]
    yield {"digest": first.checksum}, ["first"]
    yield {"trainingJobId": str(second.training_job_id)}, ["second"]
    yield {"trainingJobId": str(second.training_job_id), "checksum": first.checksum}, []
    yield {"environment": "staging"}, ["second"]
    yield {"environment": "production"}, ["untrained"]
    yield {"status": "applied"}, ["untrained", "second", "first"]
    yield {"status": "rejected"}, ["first"]
    yield {"status": "expired"}, []
    yield {"codeRef": known.code}, ["first"]
    yield {"codeRef": reading.OTHER_CODE}, ["second"]
    yield {"dataset": "rain"}, ["second", "first"]
    yield {"dataset": "hail"}, ["second"]
    yield {"dataset": known.rain.sha256}, ["second", "first"]
    yield {"dataset": "sleet"}, []
    yield {"metric": "quality", "min": 0.9}, ["untrained", "second", "first"]
    yield {"metric": "quality", "min": 0.8, "max": 0.92}, ["second", "first"]
    yield {"metric": "quality", "max": 0.5}, []
    yield {"metric": "rows", "min": 4, "max": 4}, ["first"]
    yield {"metric": "quality", "model": "snowfall"}, ["untrained"]
    yield {"createdAfter": second.created_at.isoformat()}, ["untrained", "second"]
    yield {"createdBefore": second.created_at.isoformat()}, ["first"]
    yield {"createdAfter": first.created_at.isoformat(), "createdBefore": second.created_at.isoformat()}, ["first"]
    yield {"provenance": "trained"}, ["second", "first"]
    yield {"provenance": "no provenance"}, ["untrained"]
    yield {"dataset": "rain", "status": "rejected"}, ["first"]
    yield {"model": "rainfall", "environment": "staging", "dataset": "hail", "metric": "quality", "min": 0.89}, ["second"]
    yield {"model": "rainfall", "provenance": "no provenance"}, []
    yield {"metric": "quality", "provenance": "trained", "createdAfter": second.created_at.isoformat()}, ["second"]


def test_each_search_finds_what_it_should_whole_and_in_pages_of_one(known: Known) -> None:
    asked = set()
    for query, expected in _expected(known):
        same_value = {"second", "first"} if "metric" in query and len(expected) > 1 else set()
        for limit in (50, 1):
            found = _found(known, **query, limit=limit)
            assert (found if not same_value else sorted(found)) == (expected if not same_value else sorted(expected)), (query, limit)
        asked |= set(query)
    assert asked >= {"model", "version", "environment", "status", "digest", "codeRef", "dataset", "metric", "createdAfter", "provenance"}


def test_a_search_by_metric_alone_has_the_highest_value_first(known: Known) -> None:
    assert _found(known, metric="quality")[0] == "untrained"


def test_an_environment_that_is_not_configured_is_not_found(known: Known) -> None:
    for path in ("models", "promotions"):
        assert is_problem(known.api.get(f"/ai-infra/{path}?environment=moon"), 404, "known are staging, prod")


def test_promotions_are_found_by_what_they_are_about(known: Known) -> None:
    everything = known.read("/promotions")
    assert [(one["model"], one["environment"], one["status"]) for one in everything] == [
        ("snowfall", "prod", "applied"),
        ("rainfall", "staging", "applied"),
        ("rainfall", "prod", "rejected"),
        ("rainfall", "staging", "applied"),
    ]
    numbered = {one["id"]: number for number, one in enumerate(everything)}
    asked: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [0, 1, 2, 3]),
        ({"model": "rainfall"}, [1, 2, 3]),
        ({"environment": "production"}, [0, 2]),
        ({"environment": "staging", "model": "rainfall"}, [1, 3]),
        ({"status": "rejected"}, [2]),
        ({"status": "applied", "environment": "prod"}, [0]),
        ({"artifactId": str(known.first.id)}, [2, 3]),
        ({"requestedBy": "paul", "model": "snowfall"}, [0]),
        ({"requestedBy": "nobody"}, []),
        ({"createdBefore": everything[2]["createdAt"]}, [3]),
        ({"createdAfter": everything[1]["createdAt"]}, [0, 1]),
    ]
    for query, expected in asked:
        for limit in (1, 2, 50):
            assert [numbered[one["id"]] for one in known.every("/promotions", **query, limit=limit)] == expected, (query, limit)
    alone = known.read(f"/promotions/{everything[2]['id']}")
    assert ([one["gate"] for one in alone.pop("decisions")], alone) == (["local"], everything[2])
    assert is_problem(known.api.get(f"/ai-infra/promotions/{known.first.id}"), 404, "There is no promotion")
    assert is_problem(known.api.get("/ai-infra/promotions?status=lost"), 400)


def test_what_searches_are_answered_from_follows_from_the_records(known: Known) -> None:
    with _connected(known.settings) as connection:
        before = _derived(connection)
        assert all(before.values())
        connection.execute("SELECT refill_search()")
        assert _derived(connection) == before
        connection.rollback()


@pytest.mark.parametrize(
    "metrics",
    ['{"q": 1e999, "r": 0.5}', '{"q": "0.9", "r": 0.5}', '{"q": null, "r": 0.5}', '{"q": {"r": 1}, "r": 0.5}', '{"r": 0.4, "r": 0.5}'],
)
def test_scores_that_are_no_plain_numbers_are_kept_and_not_searched_for(known: Known, metrics: str) -> None:
    with _connected(known.settings) as connection:
        _evaluate(connection, known, metrics)
        found = dict(
            connection.execute(
                "SELECT metric, value FROM search_metrics WHERE evaluation_id = 'e0000000-0000-4000-8000-000000000000'"
            ).fetchall()
        )
        assert set(found) == {"r"}, found
        connection.rollback()


def test_an_escaped_nul_stops_no_write(known: Known) -> None:
    with _connected(known.settings) as connection:
        _evaluate(connection, known, '{"q\\u0000": 1, "r": 0.5}')
        assert connection.execute(
            "SELECT count(*) FROM search_metrics WHERE artifact_id = %s AND metric = 'r'", [known.untrained.id]
        ).fetchone() == (0,)
        connection.rollback()


def test_what_was_run_counts_before_what_a_training_measured_and_that_before_what_was_claimed_later(known: Known) -> None:
    later = known.first.created_at + timedelta(days=1)
    with _connected(known.settings) as connection:
        _evaluate(connection, known, '{"quality": 0.1}', artifact=known.first.id, at=later)
        assert _score(connection, known) == 0.9
        _evaluate(connection, known, '{"quality": 0.2}', artifact=known.first.id, at=later, kind="measured", number=1)
        assert _score(connection, known) == 0.2
        _evaluate(
            connection, known, '{"quality": 0.3}', artifact=known.first.id, kind="measured", number=2, spec="{}", spec_digest=64 * "0"
        )
        assert _score(connection, known) == 0.3
        _evaluate(connection, known, '{"quality": 0.4}', artifact=known.first.id, at=later + timedelta(days=1), kind="measured", number=3)
        assert _score(connection, known) == 0.3
        connection.execute("SELECT refill_search()")
        assert _score(connection, known) == 0.3
        connection.rollback()


def _score(connection: psycopg.Connection[Any], known: Known) -> float:
    query = "SELECT value FROM search_metrics WHERE artifact_id = %s AND metric = 'quality'"
    row = connection.execute(query, [known.first.id]).fetchone()
    assert row is not None
    return float(row[0])


def _evaluate(connection: psycopg.Connection[Any], known: Known, metrics: str, **changes: Any) -> None:
    values = {"artifact": known.untrained.id, "at": known.first.created_at, "kind": "claimed", "number": 0, "metrics": metrics}
    values |= {"spec": None, "spec_digest": None} | changes
    values |= {"id": f"e000000{values['number']}-0000-4000-8000-000000000000", "digest": f"{values['number']:064x}"}
    connection.execute(
        "INSERT INTO evaluations SELECT %(id)s, %(artifact)s, %(kind)s, %(metrics)s, %(digest)s, min(digest), 'eve', %(at)s,"
        " %(spec)s::json, %(spec_digest)s FROM attestations",
        values,
    )


def _connected(settings: Settings) -> psycopg.Connection[Any]:
    assert settings.database_url is not None
    return psycopg.connect(settings.database_url.get_secret_value())


def _derived(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    return {table: sorted(connection.execute(f"SELECT t::text FROM {table} t").fetchall()) for table in DERIVED}
