"""Authentication as a bare ASGI layer: whatever is sent, it ends in an answer, and only a proof that counts makes somebody."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from aiinfra_core.http_api.access.authentication import Authentication
from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.settings import Settings
from tests.simulators.scripted_server import unused_url

TOKEN = "the-right-token"  # noqa: S105 - of this test
CONFIGURED = Settings(
    allow_debug_token=True,
    debug_token=SecretStr(TOKEN),
    oidc_issuer=unused_url(),
    oidc_audience=("ai-infra",),
    trusted_proxies="127.0.0.0/8",
    proxy_cert_header="Client-Cert",
    failed_proofs_per_minute=1_000_000,
    roles='{"anyone": ["viewer"]}',
)
LAYER_HEADERS = (b"authorization", b"x-debug-token", b"x-debug-actor", b"x-forwarded-for", b"client-cert", b"cookie")


def answered(layer_settings: Settings, headers: list[tuple[bytes, bytes]], **scope: Any) -> tuple[int, Identity | None]:
    """Send one request through the layer; return the status and who it was taken for."""
    told: dict[str, Any] = {"type": "http", "method": "GET", "path": "/x", "headers": headers, "client": ("127.0.0.1", 1), **scope}
    statuses: list[int] = []

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    asyncio.run(Authentication(inner, layer_settings)(told, receive, send))
    assert len(statuses) == 1
    return statuses[0], told["aiinfra.identity"]


words = st.binary(max_size=40) | st.sampled_from([b"Bearer a.b.c", b"bearer e30.e30.e30", b":AAAA:", TOKEN.encode(), b"", b"Bearer \xff"])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(LAYER_HEADERS), words), max_size=5), st.sampled_from(["127.0.0.1", "192.0.2.1", "", "::1", "x"]))
def test_whatever_is_sent_is_answered_and_only_the_right_token_alone_makes_somebody(headers: Any, host: str) -> None:
    status, identity = answered(CONFIGURED, headers, client=(host, 1) if host else None)
    assert status in (200, 401)
    brought = [value for name, value in headers if name in (b"authorization", b"x-debug-token")]
    if identity is not None:
        assert brought == [TOKEN.encode()]
        assert identity.actor.partition(":")[0] == "debug"
    assert status == 401 or identity is not None or not brought


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20), st.sampled_from(["", "/prefix"]))
def test_only_the_health_addresses_are_open_to_a_wrong_token(path: str, root: str) -> None:
    wrong = [(b"x-debug-token", b"wrong")]
    expected = 200 if path in ("/health", "/livez", "/readyz") else 401
    assert answered(CONFIGURED, wrong, path=root + path, root_path=root)[0] == expected
    for opened in ("/health", "/livez", "/readyz"):
        assert answered(CONFIGURED, wrong, path=root + opened, root_path=root)[0] == 200
        assert answered(CONFIGURED, wrong, path=root + opened + "/x", root_path=root)[0] == 401


def test_a_websocket_is_closed_before_anybody_is_asked() -> None:
    sent: list[Any] = []

    async def inner(*_: Any) -> None:
        raise AssertionError("nothing inside is reached")

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(Authentication(inner, CONFIGURED)({"type": "websocket", "path": "/x", "headers": []}, receive, send))
    assert sent == ["websocket.close"]
