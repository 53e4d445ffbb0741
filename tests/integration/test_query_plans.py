"""No read of the API goes through a whole table: every statement is planned over 20,000 seeded artifacts, exactly as it is sent.

Searches are made out of the tables of searches themselves, so a new filter is looked at too.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import NullPool

from aiinfra_core.registry import artifacts, lineage, listing, reading
from aiinfra_core.registry.listing import Listing
from aiinfra_core.registry.search import ARTIFACTS, PROMOTIONS, artifact_filters
from scripts.seed_registry import seed
from tests.simulators.postgres import made_database

COUNT = 20_000
AFTER = datetime(2026, 1, 1, 2, tzinfo=UTC)
# A table of a few pages is rightly read whole, whatever indexes it has.
SMALL = """
    SELECT name FROM unnest(ARRAY['attestations', 'training_jobs', 'models', 'model_artifacts', 'evaluations', 'model_promotions',
      'environment_pointers', 'job_leases', 'imports', 'artifact_tombstones', 'search_terms', 'search_metrics']) AS name
    JOIN pg_class ON pg_class.oid = name::regclass WHERE reltuples < 500
"""
PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass
class Seeded:
    """A database with many artifacts, and every statement that was sent to it."""

    connection: Connection
    values: dict[str, Any]
    small: frozenset[str]
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def filters(self, listed: Listing, names: frozenset[str]) -> dict[str, Any]:
        chosen = {name: self.values[name] for name in names} | ({"at_least": 0.8} if "metric" in names else {})
        return artifact_filters(chosen) if listed is ARTIFACTS else chosen

    def read_whole(self, read: Callable[[], object]) -> set[str]:
        """Return the tables that are read from end to end, in plans for these values or for any."""
        self.sent.clear()
        read()
        assert self.sent
        plans = [self._plan(statement, values, mode) for statement, values in self.sent for mode in ("generic", "custom")]
        whole = {str(node["Relation Name"]) for plan in plans for node in _nodes(plan) if node["Node Type"] == "Seq Scan"}
        return whole - self.small

    def _plan(self, statement: str, values: dict[str, Any], mode: str) -> dict[str, Any]:
        names = list(dict.fromkeys(PARAMETER.findall(statement)))
        numbered = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement).replace("%%", "%")
        raw = self.connection.connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
            cursor.execute(f"SET plan_cache_mode = force_{mode}_plan")
            cursor.execute(b"PREPARE asked AS " + numbered.encode())
            given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
            arguments = sql.SQL("({})").format(given) if names else sql.SQL("")
            cursor.execute(sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE asked{}").format(arguments))
            plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
            return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@pytest.fixture(scope="module")
def seeded(postgres_server: str, migrated_template: str) -> Iterator[Seeded]:
    """Give a database with many artifacts."""
    with made_database(postgres_server, migrated_template) as url:
        seed(url, COUNT)
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"prepare_threshold": None})
        with engine.connect() as connection:
            yield _listening(connection)


def _listening(connection: Connection) -> Seeded:
    one = (
        connection.execute(
            text(
                "SELECT artifact.*, code_ref FROM model_artifacts artifact JOIN training_jobs job ON job.id = training_job_id"
                " WHERE artifact.model = 'model-7' AND version = 50"
            )
        )
        .mappings()
        .one()
    )
    values = {name: one[name] for name in ("model", "version", "checksum", "training_job_id", "code_ref")} | {
        "artifact_id": one["id"],
        "environment": "prod",
        "status": "applied",
        "dataset": "shared",
        "metric": "quality",
        "trained": True,
        "untrained": True,
        "requested_by": "requester-7",
        "created_after": AFTER,
        "created_before": AFTER + timedelta(hours=1),
    }
    made = Seeded(connection, values, frozenset(connection.execute(text(SMALL)).scalars()))
    assert made.small <= {"environment_pointers", "models"}, "too few rows were seeded to know how they are read"

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        made.sent.append((statement, dict(values)))

    event.listen(connection, "before_cursor_execute", remember)
    return made


def _searches() -> Iterator[tuple[str, Listing, frozenset[str]]]:
    for title, listed in (("artifacts", ARTIFACTS), ("promotions", PROMOTIONS)):
        for many in (0, 1, 2):
            for names in combinations(sorted(listed.tests), many):
                if names != ("trained", "untrained"):
                    yield f"{title} by {' and '.join(names) or 'nothing'}", listed, frozenset(names)
        yield f"{title} by everything", listed, frozenset(listed.tests) - {"untrained"}


SEARCHES = {title: (listed, names) for title, listed, names in _searches()}


@pytest.mark.parametrize("deep", [False, True], ids=["first page", "deep"])
def test_no_search_reads_a_whole_table(seeded: Seeded, deep: bool) -> None:
    whole = {}
    for title, (listed, names) in SEARCHES.items():
        after = None
        if deep:
            by = AFTER + timedelta(minutes=30) if listed.is_by_time(names) else 0.9
            after = (by, seeded.values["artifact_id"])
        filters = seeded.filters(listed, names)
        if found := seeded.read_whole(lambda: listing.read(seeded.connection, listed, filters, limit=50, after=after)):  # noqa: B023
            whole[title] = found
    assert not whole


def test_no_read_of_one_thing_reads_a_whole_table(seeded: Seeded) -> None:
    tx, values = seeded.connection, seeded.values
    promotion = tx.execute(text("SELECT id, model FROM model_promotions WHERE status = 'applied' AND environment = 'prod' LIMIT 1")).one()
    names = [str(values["artifact_id"]), "model-7", "model-7:50", f"{promotion.model}@prod"]
    reads: dict[str, Callable[[], object]] = {
        **{f"detail of {name}": partial(reading.model, tx, name) for name in names},
        **{f"lineage of {name}": partial(lineage.lineage, tx, name) for name in names},
        "find": lambda: artifacts.find(tx, str(values["artifact_id"])),
        "promotion": lambda: reading.promotion(tx, promotion.id),
        "current": lambda: reading.current(tx, "prod", promotion.model),
        "statements": lambda: reading.statements(tx, values["artifact_id"], values["checksum"], limit=51, after=None),
        "more statements": lambda: reading.statements(
            tx, values["artifact_id"], values["checksum"], limit=51, after=(AFTER, values["artifact_id"])
        ),
    }
    assert {name: found for name, read in reads.items() if (found := seeded.read_whole(read))} == {}


def test_a_page_looks_at_so_many_rows_and_no_more_and_the_next_goes_on_there(seeded: Seeded) -> None:
    filters = seeded.filters(ARTIFACTS, frozenset({"dataset", "status"})) | artifact_filters({"status": "expired"})
    ends, after = [], None
    while True:
        page = listing.read(seeded.connection, ARTIFACTS, filters, limit=50, after=after)
        assert page.documents == []
        if page.ends_at is None:
            break
        after = page.ends_at
        ends.append(after)
    assert len(ends) == COUNT * 19 // 20 // listing.MOST_LOOKED_AT
    assert sorted(ends, reverse=True) == ends


def test_seeded_rows_are_as_the_product_would_have_made_what_searches_are_answered_from(seeded: Seeded) -> None:
    page = listing.read(seeded.connection, ARTIFACTS, seeded.filters(ARTIFACTS, frozenset({"code_ref"})), limit=50)
    assert str(seeded.values["artifact_id"]) in {json.loads(one)["id"] for one in page.documents}
    assert len(page.documents) in (9, 10)


def test_statements_of_the_same_moment_are_each_on_one_page(seeded: Seeded) -> None:
    about, after, shown = (seeded.values["artifact_id"], seeded.values["checksum"]), None, []
    while found := reading.statements(seeded.connection, *about, limit=1, after=after):
        after = reading.place_of(found[0])
        shown.append(found[0])
    assert len(shown) == len({one.digest for one in shown}) == len(reading.statements(seeded.connection, *about, limit=9, after=None)) >= 3
    assert len({one.created_at for one in shown}) == 1
