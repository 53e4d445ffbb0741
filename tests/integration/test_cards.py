"""Cards: each writing is kept and told once, the newest counts, and nobody overwrites what they have not seen."""

import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from aiinfra_core import artifact_store, cards, database, registering, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.card import Card, CardText
from aiinfra_core.errors import NotFound, Outdated, RequestIdReused
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import cards as recorded
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_cards
from tests.simulators.command_line import Run, installation, run
from tests.simulators.service import AS_DEBUG, calling

__all__ = ["installation", "run"]

RAIN, SNOW = CardText(description="rain"), CardText(description="snow", tags={"team": "weather"}, card="# Snow\n")


@pytest.fixture
def model(settings: Settings, tmp_path: Path) -> Settings:
    """Register a first version of `rainfall`."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), tmp_path / "model.bin", "uploads/model")
    request = RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    registering.register(settings, request)
    return settings


def written(settings: Settings, text: CardText, version: int | None = None, **more: Any) -> Card:
    fields: dict[str, Any] = {"model": "rainfall", "version": version, "written_by": "carla", **more}
    return cards.write_card(settings, text, **fields)


def history(settings: Settings, version: int | None = None) -> list[str]:
    with database.snapshot(settings) as tx:
        return [card.description for card in recorded.history(tx, "rainfall", version, 100)]


def test_the_newest_card_counts_and_all_of_them_stay(model: Settings) -> None:
    assert [written(model, text).revision for text in (RAIN, SNOW, RAIN)] == [1, 2, 3]
    assert history(model) == ["rain", "snow", "rain"]
    assert cards.card_of(model, "rainfall").description == "rain"
    sequence_pending(model, audit_signer(model))
    with database.transaction(model) as tx:
        assert tx.execute(select(func.count()).where(audit_events.c.event_type == "card.written")).scalar_one() == 3
    assert verifying.verify_history(model).findings == []


def test_a_model_and_its_versions_have_cards_of_their_own(model: Settings) -> None:
    written(model, RAIN)
    written(model, SNOW, version=1)
    assert (cards.card_of(model, "rainfall").description, cards.card_of(model, "rainfall", 1).description) == ("rain", "snow")
    assert cards.card_of(model, "rainfall", 1).tags == {"team": "weather"}


def test_what_says_the_same_is_not_written_again(model: Settings) -> None:
    assert written(model, SNOW) == written(model, SNOW, written_by="somebody-else")
    assert history(model) == ["snow"]


def test_there_is_no_card_of_what_is_not_there(model: Settings) -> None:
    for missing in ({"model": "nothing"}, {"version": 2}):
        with pytest.raises(NotFound, match="There is no"):
            written(model, RAIN, **missing)
    with pytest.raises(NotFound, match="Nobody has written"):
        cards.card_of(model, "rainfall")


def test_whoever_saw_another_card_writes_nothing(model: Settings) -> None:
    written(model, RAIN, seen=0)
    with pytest.raises(Outdated, match="revision 1"):
        written(model, SNOW, seen=0)
    assert written(model, SNOW, seen=1).revision == 2
    with pytest.raises(Outdated):
        written(model, SNOW, seen=1)
    assert history(model) == ["snow", "rain"]


def test_the_same_request_gives_the_same_card_whatever_was_written_since(model: Settings) -> None:
    first = written(model, RAIN, request_id="r1", seen=0)
    written(model, SNOW)
    assert written(model, RAIN, request_id="r1", seen=0) == first
    with pytest.raises(RequestIdReused):
        written(model, SNOW, request_id="r1")
    assert history(model) == ["snow", "rain"]


def test_many_who_write_at_once_leave_a_history_without_gaps(model: Settings) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        for turn in range(4):
            written(model, CardText(description=f"{number} {turn}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.snapshot(model) as tx:
        rows = tx.execute(select(model_cards.c.revision).order_by(model_cards.c.created_at)).scalars().all()
    assert list(rows) == list(range(1, 33))


def _served(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_debug_token": True, "debug_token": SecretStr(AS_DEBUG["X-Debug-Token"])})


def test_a_card_is_read_and_written_over_http(model: Settings) -> None:
    with calling(_served(model)) as client:
        assert client.get("/ai-infra/cards/rainfall").status_code == 404
        done = client.put("/ai-infra/cards/rainfall", json={"description": "rain", "tags": ["a"], "card": "<b>☂</b>"})
        assert (done.status_code, done.headers["etag"]) == (200, '"1"')
        read = client.get("/ai-infra/cards/rainfall")
        assert (read.json(), read.headers["etag"]) == (done.json(), '"1"')
        assert {**read.json(), "id": None, "createdAt": None} == {
            "id": None,
            "model": "rainfall",
            "version": None,
            "revision": 1,
            "description": "rain",
            "tags": {"a": ""},
            "card": "<b>☂</b>",
            "writtenBy": read.json()["writtenBy"],
            "createdAt": None,
        }
        assert read.headers["content-type"] == "application/json"
        assert client.get("/ai-infra/cards/rainfall", headers={"If-None-Match": '"1"'}).status_code == 304
        assert client.get("/ai-infra/cards/rainfall/1").status_code == 404
        assert client.put("/ai-infra/cards/rainfall/1", json={}).json()["version"] == 1
        assert client.put("/ai-infra/cards/rainfall/2", json={}).status_code == 404


def test_a_card_over_http_is_written_on_top_of_what_was_seen_and_once_per_key(model: Settings) -> None:
    with calling(_served(model)) as client:
        first = client.put("/ai-infra/cards/rainfall", json={"card": "1"}, headers={"Idempotency-Key": "k1", "If-Match": '"0"'})
        assert first.status_code == 200
        late = client.put("/ai-infra/cards/rainfall", json={"card": "2"}, headers={"If-Match": '"0"'})
        assert late.status_code == 412
        assert client.put("/ai-infra/cards/rainfall", json={"card": "2"}, headers={"If-Match": '"1"'}).headers["etag"] == '"2"'
        again = client.put("/ai-infra/cards/rainfall", json={"card": "1"}, headers={"Idempotency-Key": "k1", "If-Match": '"0"'})
        assert (again.status_code, again.json()) == (200, first.json())
        other = client.put("/ai-infra/cards/rainfall", json={"card": "3"}, headers={"Idempotency-Key": "k1"})
        assert other.status_code == 422
        odd: Any
        for odd in ({"card": 7}, {"card": "\x00"}, {"tags": {"x" * 129: ""}}, {"title": "x"}, []):
            assert client.put("/ai-infra/cards/rainfall", json=odd).status_code == 400
        assert client.put("/ai-infra/cards/rainfall/0", json={}).status_code == 400
        assert client.put("/ai-infra/cards/Rain%20Fall", json={}).status_code == 400


def test_a_card_is_written_and_shown_by_hand(installation: Settings, model: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# Rainfall ☂\n\nUse **with care**.\n")
    assert run(f"card write rainfall --description 'in millimetres' --tag team=weather --tag raw --file {tmp_path / 'card.md'}").code == 0
    assert run("card write rainfall --untag raw --tag tier=1 --json").json["tags"] == {"team": "weather", "tier": "1"}
    shown = run("card show rainfall")
    assert "in millimetres" in shown.out
    assert "team=weather, tier=1" in shown.out
    assert shown.out.endswith("# Rainfall ☂\n\nUse **with care**.\n")
    assert run("card show rainfall:1").code == 2
    assert run("card write rainfall:1 --description 'the first' --requested-by carla --json").json["writtenBy"] == "carla"
    assert run("card show rainfall:1 --json").json["description"] == "the first"
    assert "Nothing is registered as 'nosuch'" in run("card show nosuch").error
    assert "Nothing is registered as 'rainfall@staging'" in run("card show rainfall@staging").error
    assert run("promote rainfall:1 --to staging --metric quality=0.9").code == 0
    assert run("card show rainfall@staging").out.startswith("rainfall:1\n  description  the first\n")
    for line in ("card write rainfall", "card show rainfall:x", "card write rainfall --tag '=x'", f"card write rainfall --file {tmp_path}"):
        assert run(line).code == 2
