"""No answer grows with what a registry holds: a page ends where its rows get large, a version comes with its newest promotions alone."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from aiinfra_core import database
from aiinfra_core.registry import listing, reading
from aiinfra_core.registry.search import ARTIFACTS, PROMOTIONS
from aiinfra_core.settings import Settings
from aiinfra_core.wire.records import SentModel
from scripts.seed_registry import seed
from tests.simulators.http_story import MODELS, PROMOTE, is_problem, open_to_debug
from tests.simulators.postgres import made_database
from tests.simulators.service import calling

COUNT = 300
_MORE = """
INSERT INTO model_promotions SELECT md5('more' || i)::uuid, 'more:' || i, artifact_id, model, environment, 'rejected',
  json_build_object('quality', 0.9, 'why', repeat('x', %s)), evaluation_kind, evaluation_digest, 0, NULL, decision, 'seeded', requested_by,
  NULL, NULL, NULL, created_at + i * interval '1 second', updated_at, NULL
FROM model_promotions, generate_series(1, %s) AS i WHERE request_id = 'promote:0'
"""


@pytest.fixture
def url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    with made_database(postgres_server, migrated_template) as made:
        seed(made, COUNT)
        yield made


@pytest.fixture
def crowded(url: str, settings: Settings) -> Settings:
    """Give settings of a registry with a few hundred artifacts, one of which may be given more promotions."""
    return open_to_debug(settings.model_copy(update={"database_url": Settings(AI_INFRA_DATABASE_URL=url).database_url}))


def _artifact(settings: Settings, more: int, size: int) -> str:
    """Give the artifact of the first promotion so many more promotions of this size; return its id."""
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(_MORE, [size, more])
        (found,) = connection.execute("SELECT artifact_id::text FROM model_promotions WHERE request_id = 'promote:0'").fetchone() or ()
        return str(found)


def _every(settings: Settings, listed: listing.Listing, filters: dict[str, Any], limit: int) -> list[list[str]]:
    pages, after = list[list[str]](), None
    with database.autocommit(settings) as tx:
        while not pages or after:
            page = listing.read(tx, listed, filters, limit=limit, after=after)
            pages.append([json.loads(one)["id"] for one in page.documents])
            assert len(page.documents) == 1 or sum(map(len, page.documents)) <= listing.MOST_BYTES
            after = page.ends_at
            assert len(pages) < COUNT
    return pages


@pytest.mark.parametrize(
    ("more", "size", "shown", "truncated"), [(0, 10, 1, False), (199, 10, 200, False), (200, 10, 200, True), (100, 60_000, None, True)]
)
def test_a_version_comes_with_as_many_of_its_newest_promotions_as_fit(
    crowded: Settings, more: int, size: int, shown: int | None, truncated: bool
) -> None:
    artifact = _artifact(crowded, more, size)
    every = [one for page in _every(crowded, PROMOTIONS, {"artifact_id": artifact}, 500) for one in page]
    assert len(every) == more + 1
    with calling(crowded) as api:
        answer = api.get(f"{MODELS}/{artifact}")
    found = SentModel.model_validate_json(answer.text)
    assert found.promotions_truncated is answer.json()["promotionsTruncated"] is truncated
    assert len(answer.content) < listing.MOST_BYTES + 10_000
    assert [str(one.id) for one in found.promotions] == every[: len(found.promotions)]
    assert shown is None or len(found.promotions) == shown
    assert shown is not None or 60 < len(found.promotions) < 70


def test_a_promotion_larger_than_a_page_is_still_shown_alone(crowded: Settings) -> None:
    artifact = _artifact(crowded, 2, listing.MOST_BYTES)
    assert [len(page) for page in _every(crowded, PROMOTIONS, {"artifact_id": artifact}, 50)] == [1, 1, 1]
    with database.autocommit(crowded) as tx:
        found = SentModel.model_validate_json(reading.model(tx, artifact))
    assert (len(found.promotions), found.promotions_truncated) == (1, True)


def test_a_version_without_promotions_is_not_said_to_have_more(crowded: Settings) -> None:
    with database.autocommit(crowded) as tx:
        lonely = tx.execute(text("SELECT id FROM model_artifacts WHERE id NOT IN (SELECT artifact_id FROM model_promotions) LIMIT 1"))
        found = SentModel.model_validate_json(reading.model(tx, str(lonely.scalar_one())))
    assert (found.promotions, found.promotions_truncated) == ((), False)


def test_a_page_of_large_rows_is_short_and_the_pages_together_hold_each_once(crowded: Settings) -> None:
    artifact = _artifact(crowded, 150, 60_000)
    pages = _every(crowded, PROMOTIONS, {"artifact_id": artifact}, 500)
    ids = [one for page in pages for one in page]
    assert len(ids) == len(set(ids)) == 151
    assert [len(page) for page in pages[:2]] == [len(pages[0])] * 2 and 60 < len(pages[0]) < 70
    with calling(crowded) as api:
        first = api.get("/ai-infra/promotions", params={"artifactId": artifact, "limit": 500})
        rest = api.get(first.links["next"]["url"])
    assert [one["id"] for one in first.json() + rest.json()] == ids[: len(pages[0]) * 2]


def test_pages_by_offset_go_on_by_cursor_where_they_were_cut(crowded: Settings) -> None:
    assert crowded.database_url is not None
    with psycopg.connect(crowded.database_url.get_secret_value()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE model_artifacts SET metadata = json_build_object('why', repeat('x', 60000))")
    whole = [one for page in _every(crowded, ARTIFACTS, {}, 500) for one in page]
    assert len(set(whole)) == len(whole) == COUNT
    with calling(crowded) as api:
        first = api.get(MODELS, params={"limit": 500, "offset": 7})
        rest = api.get(first.links["next"]["url"])
    assert [one["id"] for one in first.json() + rest.json()] == whole[7 : 7 + len(first.json()) + len(rest.json())]
    assert 60 < len(first.json()) < 70


def test_a_list_of_jobs_ends_its_pages_too(crowded: Settings) -> None:
    assert crowded.database_url is not None
    with psycopg.connect(crowded.database_url.get_secret_value()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE training_jobs SET hyperparams = json_build_object('why', repeat('x', 60000))")
    with calling(crowded) as api:
        first = api.get("/ai-infra/jobs", params={"limit": 500})
        url, ids = first.links["next"]["url"], [one["id"] for one in first.json()]
        while url:
            answer = api.get(url)
            ids += [one["id"] for one in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
    assert 60 < len(first.json()) < 70
    assert len(ids) == len(set(ids)) == COUNT * 19 // 20


def test_a_claimed_evaluation_has_a_size(crowded: Settings) -> None:
    artifact = _artifact(crowded, 0, 0)
    body = {"artifactId": artifact, "environment": "prod"}
    with calling(crowded) as api:
        refused = api.post(PROMOTE, json=body | {"evaluation": {"quality": 0.9, "why": "x" * 8192}})
        taken = api.post(PROMOTE, json=body | {"evaluation": {"quality": 0.9, "why": "x" * 8000}})
    assert is_problem(refused, 400, "is larger than 8192 bytes as JSON")
    assert taken.status_code != 400, taken.text
