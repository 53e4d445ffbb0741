"""How often somebody may ask, how much they may send and how long they may take; and what every answer tells a browser.

How deep JSON may be nested is decided where it is read (`strict_json`); headers and addresses are bounded by the server itself.
"""

import asyncio
import time
from collections import OrderedDict
from math import ceil

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aiinfra_core.errors import AiInfraError, TooLarge, TooManyRequests, TooSlow, WrongMediaType
from aiinfra_core.http_api import problems
from aiinfra_core.settings import Settings

_MAX_KNOWN = 20_000
_INSTANT = 1e-6  # seconds; less is rounding


class Rates:
    """How often each key may do something: `burst` times at once, and `per_second` from then on; nobody seen lately is forgotten first.

    For each key one number is kept: the moment at which all it did is paid off.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._each = 1 / per_second if per_second else 0.0
        self._ahead = (burst - 1) * self._each
        self._paid_off: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return how many seconds this key has to wait before the next time, 0 for none."""
        wait = self._paid_off.get(key, 0.0) - time.monotonic() - self._ahead
        return wait if wait > _INSTANT else 0.0

    def take(self, key: str) -> None:
        """Count one time."""
        self._paid_off[key] = max(self._paid_off.get(key, 0.0), time.monotonic()) + self._each
        self._paid_off.move_to_end(key)
        if len(self._paid_off) > _MAX_KNOWN:
            self._paid_off.popitem(last=False)


class SafeHeaders:
    """Tells browsers and caches of every answer that its type is meant, and that nothing but a public read may be kept.

    The connection of nobody who sends a body is closed: what they send is never read, and must not be waited for either.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                headers.append((b"x-content-type-options", b"nosniff"))
                if not scope.get("aiinfra.identity") and _announced(scope)[0] and b"connection" not in names:
                    headers.append((b"connection", b"close"))
                if b"cache-control" not in names and (scope.get("aiinfra.identity") or message["status"] >= 400):
                    headers.append((b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_safely)


class Limits:
    """Refuses who asks too often, or sends too much, too slowly or something else than JSON; a body is passed on when it is whole."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rates = Rates(settings.rate_per_second, settings.rate_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it keeps to the limits."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._count(scope)
            receive = await self._whole_body(scope, receive)
        except AiInfraError as error:
            answer: ASGIApp = _refusal(scope, error)
        else:
            answer = self._app
        await answer(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        identity = scope.get("aiinfra.identity")
        key = f"actor {identity.actor}" if identity else scope.get("aiinfra.address", "")
        if wait := self._rates.wait(key):
            raise TooManyRequests("Too many requests; wait before the next.", ceil(wait))
        self._rates.take(key)

    async def _whole_body(self, scope: Scope, receive: Receive) -> Receive:
        announced, kind = _announced(scope)
        if not announced:
            return receive
        if scope.get("aiinfra.identity") is None:
            return _again({"type": "http.request", "body": b"", "more_body": False}, receive)
        if announced > self._settings.max_body_bytes:
            raise self._too_large()
        if not _is_json(kind):
            raise WrongMediaType("Send the body as JSON, with Content-Type: application/json.")
        return await self._read(receive)

    async def _read(self, receive: Receive) -> Receive:
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while (message := await receive())["type"] == "http.request":
                    body += message.get("body", b"")
                    if len(body) > self._settings.max_body_bytes:
                        raise self._too_large()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise TooSlow(f"The body did not arrive within {self._settings.body_seconds:g} s.") from None
        return _again(message if message["type"] != "http.request" else {"type": "http.request", "body": bytes(body)}, receive)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._settings.max_body_bytes} bytes; put what is big into a dataset or an artifact.")


def _refusal(scope: Scope, error: AiInfraError) -> Response:
    response = problems.of(Request(scope), error)
    if not isinstance(error, TooManyRequests):
        response.headers["Connection"] = "close"  # what is still being sent would be waited for
    return response


def _announced(scope: Scope) -> tuple[int, bytes]:
    """Return how many bytes of body are announced, -1 where that is left open, and of which type."""
    length, kind = 0, b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = -1
        elif name == b"content-type":
            kind = value
    return length, kind


def _again(first: Message, receive: Receive) -> Receive:
    told = False

    async def tell() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return first

    return tell


def _is_json(kind: bytes) -> bool:
    name = kind.partition(b";")[0].strip().lower()
    return name == b"application/json" or (name.startswith(b"application/") and name.endswith(b"+json"))
