"""People are told by a webhook of what they wait for: signed, once an event, and only where a webhook may lead."""

import json
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from standardwebhooks import Webhook

from aiinfra_core import artifact_store, database, promoting, registering, verifying
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.audit_log.delivering import guarded, sinks, webhook
from aiinfra_core.audit_log.delivering.delivery import Delivery, deliver
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests.simulators.audit_events import dead_letters
from tests.simulators.scripted_server import Received, answers, resets, scripted_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - no secret of anybody
TAKEN = answers(204, b"")


def _telling(settings: Settings, url: str, **more: Any) -> Settings:
    told = {
        "notify_url": SecretStr(url),
        "notify_secret": SecretStr(SECRET),
        "notify_networks": (ip_network("127.0.0.0/8"),),
        "public_url": "https://models.example/",
    }
    return settings.model_copy(update=told | more)


def _promoted(settings: Settings, tmp_path: Path, quality: float = 0.9) -> Promotion:
    source = tmp_path / "model.txt"
    source.write_text(f"weights {quality}")
    kept = artifact_store.put(artifact_store.location(settings), source, f"uploads/{uuid4()}")
    registering.register(settings, RegistrationRequest(model="rain", artifact_uri=kept.uri, checksum=kept.checksum, registered_by="rita"))
    asked = PromotionRequest(artifact="rain", environment="prod", evaluation={"quality": quality}, requested_by="paul")
    return promoting.promote(settings, asked)


def _one(delivered: list[Delivery]) -> Delivery:
    (done,) = delivered
    return done


def _verified(received: Received) -> Any:
    return Webhook(SECRET).verify(received.body, received.headers)


def test_a_yes_and_a_no_are_told_with_a_link_and_a_signature_that_verifies(settings: Settings, tmp_path: Path) -> None:
    applied, refused = _promoted(settings, tmp_path), _promoted(settings, tmp_path, 0.1)
    with scripted_server(TAKEN) as server:
        done = _one(deliver(_telling(settings, f"{server.url}/hook")))
        assert _one(deliver(_telling(settings, f"{server.url}/hook"))).delivered == 0
    assert (done.problem, done.set_aside) == (None, 0)
    yes, no = (_verified(received) for received in server.requests)
    assert (yes["type"], no["type"]) == ("promotion.applied", "promotion.rejected")
    assert yes["data"] == {
        "subject": str(applied.id),
        "actor": "paul",
        "seq": yes["data"]["seq"],
        "promotionId": str(applied.id),
        "model": "rain",
        "environment": "prod",
        "artifactId": str(applied.artifact_id),
        "requestedBy": "paul",
        "manifest": applied.manifest,
        "link": f"https://models.example/ai-infra/promotions/{applied.id}/page",
    }
    assert no["data"]["reason"] == refused.reason
    assert server.requests[0].path == "/hook"


def test_a_notification_changed_on_its_way_does_not_verify(settings: Settings, tmp_path: Path) -> None:
    _promoted(settings, tmp_path)
    with scripted_server(TAKEN) as server:
        deliver(_telling(settings, server.url))
    (received,) = server.requests
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(received.body.replace(b"prod", b"test"), received.headers)


def test_a_notification_that_was_not_taken_is_sent_again_under_the_same_id(settings: Settings, tmp_path: Path) -> None:
    _promoted(settings, tmp_path)
    with scripted_server(answers(503), resets, answers(302, b"", Location="http://127.0.0.1:9/"), TAKEN) as server:
        for _ in range(3):
            assert _one(deliver(_telling(settings, server.url), at_once=True)).problem
        assert _one(deliver(_telling(settings, server.url), at_once=True)).problem is None
    assert len({received.headers["webhook-id"] for received in server.requests}) == 1
    assert len(server.requests) == 4


def test_what_is_refused_for_good_is_set_aside(settings: Settings, tmp_path: Path) -> None:
    _promoted(settings, tmp_path)
    with scripted_server(answers(422)) as server:
        assert _one(deliver(_telling(settings, server.url))).set_aside == 1
    assert len(dead_letters(settings)) == 1


def _tell(settings: Settings, kind: str, rows: dict[str, Any], at: datetime | None = None) -> None:
    with database.transaction(settings) as tx:
        append(tx, event(kind, at=at or datetime.now(UTC), actor="ada", request_id="r", subject="s", rows=rows))
    sequence_pending(settings, audit_signer(settings))


def test_only_what_is_wanted_is_told(settings: Settings) -> None:
    waiting = {"id": str(uuid4()), "status": "pending_approval", "approvals_required": '{"security":1}'}
    for kind, rows in (
        ("promotion.requested", {"model_promotions": {"id": "1", "status": "requested"}}),
        ("promotion.pending", {"model_promotions": waiting}),
        ("promotion.pending", {"model_promotions": waiting | {"approvals_required": "{}"}}),
        ("promotion.rejected", {"model_promotions": {"id": "1", "status": "quarantined"}}),
        ("promotion.applied", {"model_promotions": {"status": "of no form that is known"}}),
        ("rollback.applied", {}),
        ("drift.checked", {}),
    ):
        _tell(settings, kind, rows)
    with scripted_server(TAKEN) as server:
        assert _one(deliver(_telling(settings, server.url))).set_aside == 1
        told = [received.json for received in server.requests]
        deliver(_telling(settings, f"{server.url}/another", notify_events=("promotion.*",)))
        chosen = [received.json["type"] for received in server.requests[len(told) :]]
    assert [one["type"] for one in told] == ["promotion.pending", "promotion.quarantined", "rollback.applied", "drift.checked"]
    assert told[0]["data"]["approvalsRequired"] == {"security": 1}
    assert chosen == ["promotion.requested", "promotion.pending", "promotion.quarantined"]


def test_what_happened_long_before_the_webhook_was_there_is_not_told(settings: Settings) -> None:
    _tell(settings, "rollback.applied", {}, datetime.now(UTC) - timedelta(days=2))
    _tell(settings, "rollback.applied", {}, datetime.now(UTC) - timedelta(hours=2))
    with scripted_server(TAKEN) as server:
        assert _one(deliver(_telling(settings, server.url))).delivered == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::]", "[::1]", "[::ffff:127.0.0.1]"])
def test_nothing_is_sent_into_this_machine_unless_that_was_allowed(settings: Settings, tmp_path: Path, host: str) -> None:
    _promoted(settings, tmp_path)
    with scripted_server(TAKEN) as server:
        url = server.url.replace("127.0.0.1", host)
        done = _one(deliver(_telling(settings, url, notify_networks=())))
    assert "AI_INFRA_NOTIFY_NETWORKS" in (done.problem or "") or "no address" in (done.problem or "")
    assert server.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "::",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::127.0.0.1",
        "::8.8.8.8",
        "64:ff9b:1::7f00:1",
        "fec0::1",
    ],
)
def test_networks_that_are_nobodys_business_are_refused(address: str) -> None:
    with pytest.raises(Unavailable, match="no webhook may lead"):
        guarded.address_of("audit_sink", address, 443, (), 1.0)


def test_the_open_internet_and_allowed_networks_are_not_refused() -> None:
    assert guarded.address_of("audit_sink", "93.184.216.34", 443, (), 1.0) == "93.184.216.34"
    assert guarded.address_of("audit_sink", "2606:2800:220:1:248:1893:25c8:1946", 443, (), 1.0).startswith("2606")
    assert guarded.address_of("audit_sink", "10.1.2.3", 443, (ip_network("10.1.0.0/16"),), 1.0) == "10.1.2.3"


def _resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let each look-up of `hooks.example` give the next answer, the last one from then on; return the names that were looked up."""
    asked, waiting, real = list[str](), list(answers), socket.getaddrinfo

    def resolve(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        asked.append(host)
        if host != "hooks.example":
            return real(host, port, *more, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in waiting.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_the_connection_goes_to_the_address_that_was_looked_at(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _promoted(settings, tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with scripted_server(TAKEN) as server:
        port = server.url.rpartition(":")[2]
        telling = _telling(settings, f"http://hooks.example:{port}/hook")
        asked = _resolving(monkeypatch, ["127.0.0.1"], ["93.184.216.34"])
        (sink,) = sinks.configured(telling)
        webhook.tell(telling, sink, "1", "rollback.applied", {})
    assert asked.count("hooks.example") == 1
    assert server.requests[0].headers["host"] == f"hooks.example:{port}"


def test_a_name_with_one_address_of_each_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Unavailable, match="no webhook may lead"):
        guarded.address_of("audit_sink", "hooks.example", 443, (), 1.0)


def test_the_address_and_the_secret_are_shown_nowhere(settings: Settings, tmp_path: Path) -> None:
    _promoted(settings, tmp_path)
    with scripted_server(answers(422)) as server:
        telling = _telling(settings, f"{server.url}/path-pQ7x")
        done = _one(deliver(telling))
    with database.transaction(settings) as tx:
        kept = [str(row) for row in tx.execute(text("SELECT * FROM audit_dead_letters"))]
    shown = [repr(telling), repr(done), *kept]
    assert not [line for line in shown if "path-pQ7x" in line or SECRET in line]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"AI_INFRA_NOTIFY_URL": "https://hooks.example"}, "AI_INFRA_NOTIFY_SECRET"),
        ({"AI_INFRA_NOTIFY_URL": "https://hooks.example", "AI_INFRA_NOTIFY_SECRET": "short-s3cret"}, "whsec_"),
        ({"AI_INFRA_NOTIFY_URL": "https://ada:s3cret@hooks.example", "AI_INFRA_NOTIFY_SECRET": SECRET}, "without user name"),
        ({"AI_INFRA_NOTIFY_URL": "https://hooks.example/?key=s3cret", "AI_INFRA_NOTIFY_SECRET": SECRET}, "without user name"),
        ({"AI_INFRA_NOTIFY_URL": "ftp://hooks.example", "AI_INFRA_NOTIFY_SECRET": SECRET}, "http://"),
        ({"AI_INFRA_NOTIFY_URL": "http://hooks.example", "AI_INFRA_NOTIFY_SECRET": SECRET, "AI_INFRA_ENV": "production"}, "https://"),
    ],
)
def test_a_webhook_without_a_good_secret_or_in_the_clear_is_refused(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], said: str
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=said) as refused:
        Settings()
    assert "s3cret" not in str(refused.value)


def test_a_history_that_does_not_verify_is_told_directly_and_once_under_one_id(settings: Settings, tmp_path: Path) -> None:
    _promoted(settings, tmp_path)
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("ALTER TABLE model_artifacts DISABLE TRIGGER USER"))
        tx.execute(text("UPDATE model_artifacts SET registered_by = 'mallory'"))
    history = verifying.verify_history(settings)
    with scripted_server(TAKEN) as server:
        for _ in range(2):
            webhook.audit_failed(_telling(settings, server.url), history)
        webhook.audit_failed(_telling(settings, "http://127.0.0.1:9"), history)  # logged, and no reason to say nothing else
    first, second = server.requests
    told = _verified(first)
    assert (told["type"], told["data"]["findings"]) == ("audit.failed", history.broken)
    assert "model_artifacts" in told["data"]["place"]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert json.loads(first.body)["data"] == json.loads(second.body)["data"]
