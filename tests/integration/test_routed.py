"""The signed routing of an installation: what it says of the rows, when it changes, and serving that follows it over a real socket."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from aiinfra_core import artifact_store, canonical_json, database, promoting, registering, rolling_out, routing
from aiinfra_core.client import Client
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import Action, Arm
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import EvidenceBroken, Misconfigured, NotFound, Unavailable
from aiinfra_core.evidence.rollout_predicates import Routing
from aiinfra_core.evidence.routing import check
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import observations, promotions, rollouts
from aiinfra_core.serving import Serving
from aiinfra_core.serving.verified import places_of
from aiinfra_core.settings import Settings
from tests.simulators.http_story import is_problem, open_to_debug
from tests.simulators.scripted_server import unused_url
from tests.simulators.service import AS_DEBUG, calling, serving

SPEC = RolloutSpec(weights=(5, 50, 100))


@dataclass
class Story:
    """Version 1 is current in prod; version 2 may be rolled out beside it."""

    settings: Settings
    folder: Path

    def registers(self, content: str) -> Artifact:
        source = self.folder / "model.json"
        source.write_text(content)
        stored = artifact_store.put(artifact_store.location(self.settings), source, f"uploads/{content}/model.json")
        asked = RegistrationRequest(model="rain", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
        return registering.register(self.settings, asked)

    def promotes(self, content: str, **more: Any) -> Promotion:
        asked = {"artifact": str(self.registers(content).id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
        return promoting.promote(self.settings, PromotionRequest(**asked, **more))

    def rolls_out(self, content: str = "two", spec: RolloutSpec = SPEC) -> UUID:
        """Start a rollout and return its id."""
        promotion = self.promotes(content, rollout=spec)
        assert promotion.status is PromotionStatus.ROLLING_OUT, promotion.reason
        with database.autocommit(self.settings) as connection:
            rollout = rollouts.of_promotion(connection, promotion.id)
        assert rollout is not None
        return rollout.id

    def orders(self, rollout_id: UUID, action: Action) -> None:
        with database.autocommit(self.settings) as connection:
            step = rollouts.get(connection, rollout_id).step
        rolling_out.order(self.settings, rollout_id, action, reason="to see what becomes of traffic", ordered_by="olga", step=step)

    def said(self, at: datetime | None = None) -> Routing:
        """Return what the routing says, checked as a reader does."""
        now = at or datetime.now(UTC)
        routed = routing.routing_of(self.settings, "prod", "rain", now)
        return check(routed.bundle, trust_of(self.settings), environment="prod", model="rain", now=now)

    def tag(self, at: datetime | None = None) -> str:
        return routing.routing_of(self.settings, "prod", "rain", at).etag

    def tampers(self, table: str, change: str) -> None:
        """Change a row as somebody with all rights in the database could."""
        with database.transaction(self.settings) as tx:
            for statement in ("RESET ROLE", f"ALTER TABLE {table} DISABLE TRIGGER USER", f"UPDATE {table} SET {change}"):
                tx.execute(text(statement))
            tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


@pytest.fixture
def story(settings: Settings, tmp_path: Path) -> Iterator[Story]:
    made = Story(open_to_debug(settings), tmp_path)
    made.promotes("one")
    yield made
    routing._made.clear()


def test_a_routing_says_what_the_rows_say_at_every_step_of_a_rollout(story: Story) -> None:
    alone = story.said()
    assert (alone.champion.version, alone.challenger, alone.weight, alone.sequence, alone.changes) == (1, None, 0, 1, 0)
    rollout_id = story.rolls_out()
    begun = story.said()
    assert (begun.champion.version, begun.challenger and begun.challenger.version, begun.weight, begun.step) == (1, 2, 500, 0)
    assert (begun.rollout_id, begun.sequence, begun.changes) == (str(rollout_id), 1, 1)
    story.orders(rollout_id, Action.ADVANCE)
    advanced = story.said()
    assert (advanced.weight, advanced.step, advanced.changes) == (5000, 1, 2)
    story.orders(rollout_id, Action.ADVANCE)
    done = story.said()
    assert (done.champion.version, done.challenger, done.weight, done.sequence, done.changes) == (2, None, 0, 2, 0)


def test_a_rollout_that_ends_gives_all_traffic_back_under_a_later_order(story: Story) -> None:
    story.orders(story.rolls_out(), Action.ABORT)
    back = story.said()
    assert (back.champion.version, back.challenger, back.rollout_id, back.sequence, back.changes) == (1, None, None, 1, 2)


def test_the_same_half_gives_the_same_bytes_to_every_worker_and_the_next_one_others(story: Story) -> None:
    now = datetime.now(UTC) + timedelta(hours=1)
    start = datetime.fromtimestamp(now.timestamp() // 150 * 150, UTC)
    first = routing.routing_of(story.settings, "prod", "rain", start)
    routing._made.clear()  # as in another worker
    assert routing.routing_of(story.settings, "prod", "rain", start + timedelta(seconds=149)) == first
    later = routing.routing_of(story.settings, "prod", "rain", start + timedelta(seconds=150))
    assert later.etag != first.etag
    until = datetime.fromisoformat(story.said(start).expires_at)
    assert until - start == timedelta(seconds=story.settings.routing_seconds)
    tags = {story.tag(start), story.tag(start + timedelta(seconds=150))}
    story.rolls_out()
    assert story.tag(start + timedelta(seconds=150)) not in tags


def test_without_its_signer_it_gives_the_one_that_still_counts_and_then_none(story: Story) -> None:
    start = datetime.fromtimestamp((datetime.now(UTC).timestamp() + 3600) // 150 * 150, UTC)
    known = routing.routing_of(story.settings, "prod", "rain", start)
    key = base64.b64encode(b"k" * 32).decode()
    away = {"promotion_signer_uri": f"{unused_url()}/sign?signer-id=kms&public-key={key}", "kms_timeout_seconds": 0.2}
    story.settings = story.settings.model_copy(update=away)
    assert routing.routing_of(story.settings, "prod", "rain", start + timedelta(seconds=200)) == known
    with pytest.raises(Unavailable):
        routing.routing_of(story.settings, "prod", "rain", start + timedelta(seconds=300))


def test_nothing_is_signed_about_rows_that_no_manifest_supports(story: Story) -> None:
    other = story.registers("other")
    story.tampers("model_promotions", f"artifact_id = '{other.id}'")
    with pytest.raises(EvidenceBroken, match="champion manifest subject"):
        story.tag()


def test_a_pointer_that_was_turned_back_is_not_signed_for(story: Story) -> None:
    story.promotes("two")
    story.tampers("environment_pointers", "promotion_id = (SELECT id FROM model_promotions ORDER BY created_at LIMIT 1)")
    with pytest.raises(EvidenceBroken, match="champion manifest sequence"):
        story.tag()


def test_where_nothing_is_current_there_is_no_routing(story: Story) -> None:
    with pytest.raises(NotFound, match="Nothing is current for rain in staging"):
        routing.routing_of(story.settings, "staging", "rain")


def test_the_route_sends_it_under_an_etag_and_not_again_while_it_is_so(story: Story) -> None:
    with calling(story.settings) as api:
        answer = api.get("/ai-infra/environments/production/models/rain/routing")
        assert answer.content == routing.routing_of(story.settings, "prod", "rain").bundle
        assert set(answer.json()) == {"routing", "manifests"}
        known = {"If-None-Match": answer.headers["etag"]}
        again = api.get("/ai-infra/environments/prod/models/rain/routing", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        story.rolls_out()
        changed = api.get("/ai-infra/environments/prod/models/rain/routing", headers=known)
        assert (changed.status_code, len(changed.json()["manifests"])) == (200, 2)
        assert is_problem(api.get("/ai-infra/environments/prod/models/snow/routing"), 404, "Nothing is current")


def test_serving_follows_a_rollout_of_a_real_service_and_its_outcomes_arrive(story: Story) -> None:
    with serving(story.settings) as url, Client(url, debug_token=AS_DEBUG["X-Debug-Token"], deadline=5) as client:
        given: dict[str, Any] = {
            "client": client,
            "trust": trust_of(story.settings),
            "places": places_of(story.settings),
            "poll_seconds": 3600,
        }
        with Serving("rain", "prod", cache=story.folder / "cache", **given) as served:
            rollout_id = story.rolls_out(spec=RolloutSpec(weights=(50, 100)))
            served.refresh()
            chosen = [served.choose(f"request-{number}") for number in range(200)]
            assert {one.path.read_text() for one in chosen} == {"one", "two"}
            for one in chosen:
                served.report(one, failed=one.arm is Arm.CHALLENGER, seconds=0.02)
            served.report_outcomes()
            with database.autocommit(story.settings) as connection:
                rollout = rollouts.get(connection, rollout_id)
                seen = observations.observed(connection, [rollout])[rollout_id].counts
            expected = {arm: sum(one.arm is arm for one in chosen) for arm in Arm}
            assert {arm: seen[arm, "units"] for arm in Arm} == expected
            assert (seen["champion", "errors"], seen["challenger", "errors"]) == (0, expected[Arm.CHALLENGER])
            story.orders(rollout_id, Action.ABORT)
            served.refresh()
            assert {served.choose(f"request-{number}").path.read_text() for number in range(200)} == {"one"}
            assert served.standing().problem is None


def test_the_environment_says_all_that_serving_needs(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = trust_of(story.settings)
    with serving(story.settings) as url:
        for name, value in {"SERVER": url, "DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"], "HOME": str(story.folder / "serves")}.items():
            monkeypatch.setenv(f"AI_INFRA_{name}", value)
        with pytest.raises(Misconfigured, match="whose promotions count"):
            Serving.from_environment("rain", "prod")
        with pytest.raises(Misconfigured, match="AI_INFRA_ARTIFACT_ROOT"):
            Serving.from_environment("rain", "prod", trust=trust)
        monkeypatch.setenv("AI_INFRA_ARTIFACT_ROOT", str(story.settings.artifact_root))
        with Serving.from_environment("rain", "prod", trust=trust) as served:
            assert served.choose().path.is_relative_to(story.folder / "serves" / "serving")
            assert served.choose().path.read_text() == "one"


def test_what_is_current_under_a_lost_key_is_promoted_again_by_a_request_of_its_own(story: Story) -> None:
    again = story.promotes("one", request_id="after-the-loss")
    assert again.status is PromotionStatus.APPLIED
    assert (story.said().champion.version, story.said().sequence) == (1, 2)


def test_a_routing_says_no_more_than_its_schema(story: Story) -> None:
    story.rolls_out()
    data = canonical_json.loads(routing.routing_of(story.settings, "prod", "rain").bundle)
    said = canonical_json.loads(base64.b64decode(data["routing"]["payload"]))["predicate"]
    assert Routing.model_validate(said).model_dump(mode="json", by_alias=True) == said
    with database.autocommit(story.settings) as connection:
        pointer = promotions.pointer(connection, "prod", "rain")
    assert pointer is not None
    assert (said["sequence"], said["changes"], said["rolloutId"]) == (pointer.sequence, pointer.changes, str(pointer.rollout_id))
