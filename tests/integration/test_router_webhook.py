"""A router is told of every change of traffic: how it is split now, whole, signed and in order; never what was overtaken."""

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from aiinfra_core import rolling_back, rolling_out
from aiinfra_core.audit_log.delivering import sinks
from aiinfra_core.audit_log.delivering.delivery import Delivery, deliver
from aiinfra_core.audit_log.delivering.replay import replay
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.rollout import Action, RollbackRequest
from aiinfra_core.settings import Settings
from tests.simulators import approvers
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE, now, observe, promoted
from tests.simulators.open_rollouts import rolling_out as rollout_of
from tests.simulators.scripted_server import ScriptedServer, answers, scripted_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - no secret of anybody
TAKEN = answers(204, b"")


def _routed(settings: Settings, url: str, **more: Any) -> Settings:
    told = {"router_url": SecretStr(url), "router_secret": SecretStr(SECRET), "notify_networks": (ip_network("127.0.0.0/8"),)}
    return settings.model_copy(update=told | more)


def _delivered(settings: Settings) -> Delivery:
    (done,) = deliver(settings, at_once=True)
    return done


def _arm(artifact: Artifact, weight: int) -> dict[str, Any]:
    told = {"artifactId": str(artifact.id), "version": artifact.version, "artifactUri": artifact.artifact_uri}
    return told | {"weight": weight, "digestKind": "sha256", "checksum": artifact.checksum}


def _told(server: ScriptedServer) -> list[dict[str, Any]]:
    return [Webhook(SECRET).verify(received.body, received.headers) for received in server.requests]


def _split(data: dict[str, Any]) -> tuple[Any, ...]:
    new = data["challenger"] or {"version": None, "weight": 0}
    return data["champion"]["version"], data["champion"]["weight"], new["version"], new["weight"], data["sequence"], data["changes"]


def test_a_router_is_told_each_weight_on_the_way_of_a_challenger_and_that_it_is_current(settings: Settings) -> None:
    with scripted_server(TAKEN) as server:
        routed = _routed(settings, f"{server.url}/router")
        one, two = (approvers.registered(routed, f"weights-{number}") for number in (1, 2))
        promoted(routed, one)
        _delivered(routed)
        rollout = rollout_of(routed, promoted(routed, two, rollout=SPEC))
        _delivered(routed)
        for step in (0, 1):
            observe(routed, now(routed, rollout), LIKE_IT[step])
            rolling_out.look_at(routed, rollout.id)
            assert _delivered(routed).problem is None
        rolling_back.roll_back(routed, RollbackRequest(model="rainfall", environment="prod", reason="worse", requested_by="olga"))
        _delivered(routed)
        told = _told(server)
    assert [one["type"] for one in told] == ["promotion.applied", "rollout.started", "rollout.advanced", *["promotion.applied"] * 2]
    assert [_split(one["data"]) for one in told] == [
        (1, 10_000, None, 0, 1, 0),
        (1, 9_000, 2, 1_000, 1, 1),
        (1, 5_000, 2, 5_000, 1, 2),
        (2, 10_000, None, 0, 2, 0),
        (1, 10_000, None, 0, 3, 0),
    ]
    assert told[1]["data"] == {
        "environment": "prod",
        "model": "rainfall",
        "sequence": 1,
        "changes": 1,
        "seq": told[1]["data"]["seq"],
        "actor": "paul",
        "champion": _arm(one, 9_000),
        "challenger": _arm(two, 1_000),
        "rolloutId": str(rollout.id),
        "step": 0,
        "unit": "request",
    }


@pytest.mark.parametrize("how", ["sent back by a look", "aborted"])
def test_a_router_is_told_that_a_challenger_goes_back(settings: Settings, how: str) -> None:
    with scripted_server(TAKEN) as server:
        routed = _routed(settings, server.url)
        one, two = (approvers.registered(routed, f"weights-{number}") for number in (1, 2))
        promoted(routed, one)
        rollout = rollout_of(routed, promoted(routed, two, rollout=SPEC))
        _delivered(routed)
        if how == "aborted":
            rolling_out.order(routed, rollout.id, Action.ABORT, reason="enough", ordered_by="olga")
        else:
            observe(routed, rollout, WORSE)
            rolling_out.look_at(routed, rollout.id)
        assert _delivered(routed).problem is None
        told = _told(server)
    assert [one["type"] for one in told] == ["rollout.started", "rollout.aborted" if how == "aborted" else "rollback.applied"]
    assert _split(told[-1]["data"]) == (1, 10_000, None, 0, 1, 2)


def test_what_was_overtaken_is_told_to_nobody_and_a_replay_tells_how_it_is_now(settings: Settings) -> None:
    for number in (1, 2, 3):
        promoted(settings, approvers.registered(settings, f"weights-{number}"))
    with scripted_server(TAKEN) as server:
        routed = _routed(settings, server.url)
        assert _delivered(routed).set_aside == 0
        sink = sinks.of_router(routed)
        assert sink is not None
        replay(routed, sink)
        told = _told(server)
    assert [_split(one["data"]) for one in told] == [(3, 10_000, None, 0, 3, 0)] * 2
    assert len({received.headers["webhook-id"] for received in server.requests}) == 1


def test_a_router_that_is_down_is_told_once_it_is_back_and_one_that_is_inside_only_where_that_was_allowed(settings: Settings) -> None:
    promoted(settings, approvers.registered(settings))
    with scripted_server(answers(404), TAKEN) as server:
        closed = _routed(settings, server.url, notify_networks=())
        assert "no webhook may lead" in (_delivered(closed).problem or "")
        assert server.requests == []
        assert "check AI_INFRA_ROUTER_URL" in (_delivered(_routed(settings, server.url)).problem or "")
        assert _delivered(_routed(settings, server.url)).problem is None
        assert len(server.requests) == 2


def test_people_and_a_router_are_told_on_their_own(settings: Settings) -> None:
    one, two = (approvers.registered(settings, f"weights-{number}") for number in (1, 2))
    promoted(settings, one)
    rollout = rollout_of(settings, promoted(settings, two, rollout=SPEC))
    observe(settings, rollout, WORSE)
    rolling_out.look_at(settings, rollout.id)
    with scripted_server(TAKEN) as people, scripted_server(TAKEN) as router:
        both = {"notify_url": SecretStr(people.url), "notify_secret": SecretStr(SECRET), "public_url": "https://models.example"}
        assert [done.problem for done in deliver(_routed(settings, router.url, **both))] == [None, None]
        told, routed = _told(people), _told(router)
    assert [one["type"] for one in told] == ["promotion.applied", "rollout.started", "rollback.applied"]
    assert [one["type"] for one in routed] == ["rollback.applied"]
    started, back = told[1]["data"], told[2]["data"]
    assert (started["rolloutId"], started["percent"], started["rolloutStatus"]) == (str(rollout.id), 10, "running")
    assert (back["percent"], back["rolloutStatus"], back["promotionId"]) == (0, "rolled_back", str(rollout.promotion_id))
    assert back["reason"] == now(settings, rollout).reason
    assert back["link"] == f"https://models.example/ai-infra/rollouts/{rollout.id}/page"
