"""The receiver that docs/routers.md shows, told by real deliveries, before something that answers as the API of Kubernetes does."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from aiinfra_core import rolling_back, rolling_out
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.settings import Settings
from examples.routers import receiver
from tests.simulators import approvers
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE, observe, promoted
from tests.simulators.open_rollouts import rolling_out as rollout_of
from tests.simulators.scripted_server import ScriptedServer, answers, scripted_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - no secret of anybody
Patches = Callable[[str, str, Mapping[str, Any]], list[receiver.Patch]]


@contextmanager
def received(settings: Settings, patches: Patches, secret: str = SECRET) -> Iterator[tuple[Settings, ScriptedServer]]:
    """Run the receiver; give settings that tell it, and the API it changes."""
    with (
        scripted_server(answers(409, {"message": "try again"}), answers(200, {})) as kubernetes,
        httpx.Client(base_url=kubernetes.url) as api,
    ):
        server = receiver.served(receiver.Receiver(secret, api, partial(patches, "models")), 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            told = {"router_url": SecretStr(f"http://127.0.0.1:{server.server_address[1]}/"), "router_secret": SecretStr(SECRET)}
            yield settings.model_copy(update=told | {"notify_networks": (ip_network("127.0.0.0/8"),)}), kubernetes
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _told(settings: Settings) -> str | None:
    (done,) = deliver(settings, at_once=True)
    return done.problem


def _on_its_way(settings: Settings) -> None:
    """Tell of a first version, of one that is rolled out and sent back, and of another that gets all traffic and is rolled back."""
    one, two, three = (approvers.registered(settings, f"weights-{number}") for number in (1, 2, 3))
    promoted(settings, one)
    assert "503" in (_told(settings) or "")  # Kubernetes did not take it: it comes again
    assert _told(settings) is None
    for artifact, seen in ((two, (WORSE,)), (three, (LIKE_IT[0], LIKE_IT[1]))):
        rollout = rollout_of(settings, promoted(settings, artifact, rollout=SPEC))
        assert _told(settings) is None
        for step, counts in enumerate(seen):
            observe(settings, rollout.model_copy(update={"step": step}), counts)
            rolling_out.look_at(settings, rollout.id)
            assert _told(settings) is None
    rolling_back.roll_back(settings, RollbackRequest(model="rainfall", environment="prod", reason="worse", requested_by="olga"))
    assert _told(settings) is None


def test_kserve_is_given_each_share_and_goes_back_at_once(settings: Settings) -> None:
    with received(settings, receiver.kserve) as (routed, kubernetes):
        _on_its_way(routed)
        changes = [one.json["spec"]["predictor"] for one in kubernetes.requests[1:]]
        paths = {one.path for one in kubernetes.requests}
    assert paths == {"/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/rainfall"}
    uris = [change.get("model", {}).get("storageUri", "").rpartition("-")[2] for change in changes]
    assert [(change["canaryTrafficPercent"], uri) for change, uri in zip(changes, uris, strict=True)] == [
        (None, "1"),
        (10, "2"),
        (0, ""),
        (10, "3"),
        (50, "3"),
        (None, "3"),
        (None, "1"),
    ]


def test_an_ingress_is_given_exact_weights_and_services_their_versions(settings: Settings) -> None:
    with received(settings, receiver.nginx) as (routed, kubernetes):
        _on_its_way(routed)
        behind: dict[str, str] = {}
        seen = []
        for one in kubernetes.requests[1:]:
            name = one.path.rpartition("/")[2]
            if one.path.startswith("/api/v1/namespaces/models/services/"):
                behind[name] = one.json["spec"]["selector"]["version"]
            else:
                assert one.path == "/apis/networking.k8s.io/v1/namespaces/models/ingresses/rainfall-canary"
                weight = one.json["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]
                seen.append((behind.get("rainfall"), behind.get("rainfall-canary"), weight))
    assert behind["rainfall"] == "1"
    assert seen == [
        (None, None, "0"),
        ("1", "2", "1000"),
        ("1", "2", "0"),
        ("1", "3", "1000"),
        ("1", "3", "5000"),
        ("1", "3", "0"),
        ("3", "3", "0"),
    ]


def test_what_is_not_signed_with_the_secret_changes_nothing_and_what_is_old_neither(settings: Settings) -> None:
    promoted(settings, approvers.registered(settings))
    with received(settings, receiver.kserve, "whsec_" + "A" * 32) as (routed, kubernetes):
        assert "401" in (_told(routed) or "")
        assert kubernetes.requests == []
    with scripted_server(answers(200, {})) as server, httpx.Client(base_url=server.url) as api:
        taking = receiver.Receiver(SECRET, api, partial(receiver.kserve, "models"))
        taking._done["prod", "rainfall"] = (9, 0)
        with pytest.raises(KeyError):
            taking.take(*_signed({"data": {}, "type": "rollout.started"}))
        data = {"environment": "prod", "model": "rainfall", "sequence": 8, "changes": 3, "challenger": None}
        assert taking.take(*_signed({"type": "rollback.applied", "data": data})) == 204
        assert server.requests == []


def test_outside_of_a_cluster_it_says_what_is_missing_or_prints_what_it_would_send(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["receiver.py", "nginx"])
    with pytest.raises(SystemExit, match=r"There is no service account in .*run it inside the cluster, or with --dry-run"):
        receiver.main()
    monkeypatch.setattr(sys, "argv", ["receiver.py", "nginx", "--dry-run"])
    for secret in ("", "whsec_x"):
        monkeypatch.setenv("ROUTER_SECRET", secret)
        with pytest.raises(SystemExit, match="ROUTER_SECRET is not set to the secret"):
            receiver.main()
    data = {"environment": "prod", "model": "rain", "sequence": 8, "changes": 3, "champion": {"version": 7}, "challenger": None}
    with receiver._printing() as api:
        taking = receiver.Receiver(SECRET, api, partial(receiver.nginx, "models"))
        assert taking.take(*_signed({"type": "rollback.applied", "data": data})) == 204
    assert 'PATCH /api/v1/namespaces/models/services/rain {"spec": {"selector": {"version": "7"}}}' in capsys.readouterr().out


def _signed(told: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    body, now = json.dumps(told).encode(), datetime.now(UTC)
    signature = Webhook(SECRET).sign("id", now, body.decode())
    return body, {"webhook-id": "id", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
