"""Writes over HTTP: done once under a key, refused when what they saw has changed, recorded with who asked."""

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.http_api import idempotency
from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_promotions
from tests.simulators import sentinelnet
from tests.simulators.http_story import MODELS, PROMOTE, REGISTER, TRAIN, is_problem, open_to_debug, registered, stored
from tests.simulators.oidc import AUDIENCE, issuing
from tests.simulators.scripted_server import Handler, Received, answers, unused_url
from tests.simulators.service import calling

YES = {"quality": 0.9}
CODE = f"https://git.example.org/rainfall@{'3f' * 20}"
TRAINING = {"codeRef": CODE, "containerDigest": f"sha256:{'c0' * 32}", "seed": 7}


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def api(open_settings: Settings) -> Iterator[httpx.Client]:
    with calling(open_settings) as client:
        yield client


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def _events(settings: Settings) -> list[dict[str, Any]]:
    sequence_pending(settings, audit_signer(settings))  # the service's own thread may not have come to it yet
    with database.transaction(settings) as tx:
        return [json.loads(text) for text in tx.execute(select(audit_events.c.payload).order_by(audit_events.c.seq)).scalars()]


def test_each_write_is_done_once_under_its_key_and_answered_the_same(api: httpx.Client, open_settings: Settings, tmp_path: Path) -> None:
    bytes_of_one = stored(open_settings, tmp_path)
    artifact = registered(api, bytes_of_one)
    for path, body in (
        (TRAIN, TRAINING),
        (REGISTER, bytes_of_one | {"metadata": {"try": 2}}),
        (PROMOTE, {"artifactId": artifact, "environment": "prod", "evaluation": YES}),
        (PROMOTE, {"artifactId": artifact, "environment": "staging", "evaluation": {"quality": 0.5}}),
    ):
        key = _key(f"k{body.get('environment')}")
        first, again = (api.post(path, json=body, headers=key) for _ in range(2))
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert first.status_code in (200, 201)
        other = {"seed": 8} if path == TRAIN else {"metadata": {"try": 3}} if path == REGISTER else {"evaluation": {"quality": 0.91}}
        assert is_problem(api.post(path, json=body | other, headers=key), 422, "Idempotency-Key")
    assert [it["version"] for it in api.get(MODELS).json()] == [2, 1]
    assert verifying.verify_history(open_settings).findings == []


def test_a_training_is_answered_as_it_was_queued_also_after_it_ran(api: httpx.Client, open_settings: Settings) -> None:
    first = api.post(TRAIN, json=TRAINING, headers=_key("once"))
    with psycopg.connect(database.url(open_settings), autocommit=True) as connection:
        connection.execute("UPDATE training_jobs SET status = 'running', started_at = now(), updated_at = now()")
    assert api.post(TRAIN, json=TRAINING, headers=_key("once")).content == first.content


def test_the_key_of_one_is_not_the_key_of_another(api: httpx.Client) -> None:
    for seed, name in enumerate(("ada", "otto")):
        answer = api.post(TRAIN, json=TRAINING | {"seed": seed}, headers=_key("once") | {"X-Debug-Actor": name})
        assert (answer.status_code, answer.json()["requestedBy"]) == (201, f"debug:{name}")


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "ü"])
def test_a_key_that_is_none_is_400(api: httpx.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    assert is_problem(api.post(TRAIN, json=TRAINING, headers=headers), 400, "Idempotency-Key")


def test_the_same_without_a_key_but_with_other_details_is_told_to_take_one(
    api: httpx.Client, open_settings: Settings, tmp_path: Path
) -> None:
    body = stored(open_settings, tmp_path)
    first = registered(api, body)
    assert registered(api, body) == first
    assert is_problem(api.post(REGISTER, json=body | {"metadata": {"note": "new"}}), 409, "Idempotency-Key")
    again = api.post(REGISTER, json=body | {"metadata": {"note": "new"}}, headers=_key("as-a-new-version"))
    assert (again.status_code, again.json()["version"]) == (201, 2)


def test_the_same_request_at_the_same_time_is_409_and_afterwards_answered_the_same(open_settings: Settings, tmp_path: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    def waits(handler: Handler, received: Received) -> None:
        asked.set()
        answer.wait(20)
        handler.send(200, json.dumps(sentinelnet.SIMPLE_YES).encode())

    with (
        sentinelnet.serve(waits) as gate,
        calling(_judged_by(open_settings, gate.url)) as api,
        ThreadPoolExecutor(1) as elsewhere,
    ):
        body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "prod", "evaluation": YES}
        first = elsewhere.submit(api.post, PROMOTE, json=body, headers=_key("one"))
        assert asked.wait(20)
        second = api.post(PROMOTE, json=body, headers=_key("one"))
        answer.set()
        assert is_problem(second, 409, "carried out")
        assert (second.headers["retry-after"], second.json()["code"]) == ("1", "in_flight")
        assert first.result().json()["status"] == "applied"
        assert api.post(PROMOTE, json=body, headers=_key("one")).content == first.result().content
        assert len(gate.requests) == 1


def test_two_services_over_one_database_know_of_each_others_requests(open_settings: Settings, tmp_path: Path) -> None:
    with psycopg.connect(database.url(open_settings), autocommit=True) as other, calling(open_settings) as api:
        other.execute("SELECT pg_advisory_lock(%s)", (_lock_of("debug", PROMOTE, "one"),))
        body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "prod", "evaluation": YES}
        assert is_problem(api.post(PROMOTE, json=body, headers=_key("one")), 409, "carried out")
        assert api.post(PROMOTE, json=body, headers=_key("two")).status_code == 200


def _lock_of(actor: str, path: str, key: str) -> int:
    return idempotency.lock_key(path, idempotency.request_id_of(Identity(actor), key))


@pytest.mark.parametrize("held", [True, False], ids=["while it held one", "while it held none"])
def test_keys_work_on_after_the_connection_that_held_them_was_lost(open_settings: Settings, tmp_path: Path, held: bool) -> None:
    with psycopg.connect(database.url(open_settings), autocommit=True) as administrator:
        holders: list[int] = []

        def looks(handler: Handler, received: Received) -> None:
            query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = %s"
            holders.extend(pid for (pid,) in administrator.execute(query, (_lock_of("debug", PROMOTE, "one"),)))
            if held:
                _end(administrator, holders)
            handler.send(200, json.dumps(sentinelnet.SIMPLE_YES).encode())

        with sentinelnet.serve(looks, sentinelnet.allows()) as gate, calling(_judged_by(open_settings, gate.url)) as api:
            body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "prod", "evaluation": YES}
            first = api.post(PROMOTE, json=body, headers=_key("one"))
            assert (first.json()["status"], len(holders)) == ("applied", 1)
            if not held:
                _end(administrator, holders)
            assert api.post(PROMOTE, json=body, headers=_key("one")).content == first.content
            assert api.post(PROMOTE, json=body | {"environment": "staging"}, headers=_key("two")).json()["status"] == "applied"


def _end(administrator: psycopg.Connection, processes: list[int]) -> None:
    for process in processes:
        assert administrator.execute("SELECT pg_terminate_backend(%s, 5000)", (process,)).fetchone() == (True,)


def _judged_by(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"sentinel_url": url, "sentinel_timeout_seconds": 30.0})


def test_a_part_that_is_away_is_503_with_the_promotion_and_the_same_key_asks_again(open_settings: Settings, tmp_path: Path) -> None:
    with sentinelnet.serve(answers(503), answers(503), answers(503), sentinelnet.allows()) as gate:
        settings = _judged_by(open_settings, gate.url)
        with calling(settings) as api:
            body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "prod", "evaluation": YES}
            away = api.post(PROMOTE, json=body, headers=_key("one"))
            assert is_problem(away, 503, "unavailable:sentinelnet")
            assert (away.json()["code"], away.json()["part"], away.headers["retry-after"]) == ("unavailable", "sentinelnet", "5")
            kept = away.json()["promotion"]
            assert (kept["status"], kept["artifactId"], kept["sentinelDecision"]["allowed"]) == ("rejected", body["artifactId"], False)
            applied = api.post(PROMOTE, json=body, headers=_key("one"))
            assert (applied.status_code, applied.json()["status"]) == (200, "applied")
            assert applied.json()["id"] != kept["id"]
            told = api.get(f"{MODELS}/{body['artifactId']}").json()["promotions"]
            assert [(it["id"], it["status"]) for it in told] == [(applied.json()["id"], "applied"), (kept["id"], "rejected")]
    assert verifying.verify_history(settings).findings == []


def test_a_signer_that_is_away_is_503_with_the_promotion(open_settings: Settings, tmp_path: Path) -> None:
    with calling(open_settings) as api:
        artifact = registered(api, stored(open_settings, tmp_path))
    pinned = base64.b64encode(secrets.token_bytes(32)).decode()
    away = {"promotion_signer_uri": f"{unused_url()}/sign?public-key={pinned}", "kms_timeout_seconds": 0.2}
    with calling(open_settings.model_copy(update=away)) as api:
        answer = api.post(PROMOTE, json={"artifactId": artifact, "environment": "prod", "evaluation": YES})
    assert is_problem(answer, 503, "unavailable:signer")
    assert (answer.json()["part"], answer.json()["promotion"]["status"]) == ("signer", "rejected")


def test_a_database_that_is_away_is_503_without_a_word_about_it(open_settings: Settings) -> None:
    url = "postgresql://somebody:a-password@127.0.0.1:9/nowhere"
    gone = Settings(AI_INFRA_DATABASE_URL=url, **open_settings.model_dump(exclude={"database_url", "env", "require_kms"}))
    with calling(gone) as api:
        for headers in ({}, _key("one")):
            answer = api.post(TRAIN, json=TRAINING, headers=headers)
            assert is_problem(answer, 503)
            assert answer.json()["part"] == "database"
            assert not [word for word in ("somebody", "a-password", "psycopg", "127.0.0.1", "SELECT") if word in answer.text]


def test_a_promotion_says_what_it_saw_and_is_refused_when_that_has_changed(
    api: httpx.Client, open_settings: Settings, tmp_path: Path
) -> None:
    one, two = (registered(api, stored(open_settings, tmp_path, content)) for content in ("one", "two"))

    def promote(artifact: str, seen: str, quality: float = 0.9, key: str | None = None) -> httpx.Response:
        body = {"artifactId": artifact, "environment": "prod", "evaluation": {"quality": quality}}
        return api.post(PROMOTE, json=body, headers={"If-Match": seen} | (_key(key) if key else {}))

    assert is_problem(promote(one, '"1"'), 412, "sequence 0")
    first = promote(one, '"0"')
    assert (first.json()["status"], first.headers["etag"]) == ("applied", '"1"')
    assert promote(one, '"0"').content == promote(one, '"1"').content == first.content
    assert is_problem(promote(two, '"0"'), 412, "sequence 1")
    second = promote(two, '"1"', key="second")
    assert (second.json()["status"], second.headers["etag"]) == ("applied", '"2"')
    assert is_problem(promote(one, '"1"', 0.95), 412, "sequence 2")
    assert promote(two, '"1"', key="second").content == second.content
    for malformed in ("1", '"x"', 'W/"1"', "*", '"01"', '"1", "2"'):
        assert is_problem(promote(one, malformed), 400, "If-Match")
    with database.transaction(open_settings) as tx:
        assert len(tx.execute(select(model_promotions.c.id)).all()) == 2


def test_without_an_evaluation_what_the_training_measured_is_judged(api: httpx.Client, open_settings: Settings, tmp_path: Path) -> None:
    elsewhere = registered(api, stored(open_settings, tmp_path))
    refused = api.post(PROMOTE, json={"artifactId": elsewhere, "environment": "prod"})
    assert (refused.json()["status"], refused.json()["evaluation"], refused.json()["evaluationKind"]) == ("rejected", {}, None)


def test_who_asks_is_recorded_also_where_an_administrator_asks_for_somebody(
    api: httpx.Client, open_settings: Settings, tmp_path: Path
) -> None:
    body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "prod", "evaluation": YES}
    for_paul = api.post(PROMOTE, json=body | {"requestedBy": "paul"}, headers=_key("one"))
    assert (for_paul.status_code, for_paul.json()["promotedBy"]) == (200, "paul")
    assert is_problem(api.post(PROMOTE, json=body | {"requestedBy": "rita"}, headers=_key("one")), 422)
    asked = [it for it in _events(open_settings) if it["type"] == "promotion.requested"]
    assert [(it["actor"], it["rows"]["model_promotions"]["requested_by"]) for it in asked] == [("debug", "paul")]
    assert verifying.verify_history(open_settings).findings == []


def test_who_may_promote_in_one_environment_may_so_there_and_for_themselves(open_settings: Settings, tmp_path: Path) -> None:
    with issuing() as issuer:
        changes = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": '{"sub:otto": ["promoter:prod"]}'}
        with calling(open_settings.model_copy(update=changes)) as api:
            body = {"artifactId": registered(api, stored(open_settings, tmp_path)), "environment": "production", "evaluation": YES}
            del api.headers["X-Debug-Token"]
            api.headers["Authorization"] = f"Bearer {issuer.token(sub='otto')}"
            assert is_problem(api.post(PROMOTE, json=body | {"requestedBy": "paul"}), 403, "otto")
            assert is_problem(api.post(PROMOTE, json=body | {"environment": "staging"}), 403, "promoter:staging")
            assert is_problem(api.post(REGISTER, json=stored(open_settings, tmp_path)), 403, "registrar")
            assert api.get(f"{MODELS}/{body['artifactId']}").json()["promotions"] == []
            applied = api.post(PROMOTE, json=body | {"requestedBy": "otto"})
            assert (applied.json()["status"], applied.json()["promotedBy"]) == ("applied", "otto")
