"""Find out who sends a request, before anything else looks at it; what cannot be believed is nobody, and why is told with the refusal."""

import hmac

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.settings import Settings

DEBUG_ACTOR = "debug"


class Authentication:
    """Puts the identity of who asks into the scope (`aiinfra.identity`, None for nobody)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who asks and pass the request on."""
        if scope["type"] == "http":
            scope["aiinfra.identity"] = _by_debug_token(self._settings, Request(scope))
        await self._app(scope, receive, send)


def _by_debug_token(settings: Settings, request: Request) -> Identity | None:
    token = request.headers.get("x-debug-token")
    if token is None or not settings.allow_debug_token or settings.debug_token is None:
        return None
    if not hmac.compare_digest(token.encode(), settings.debug_token.get_secret_value().encode()):
        return None
    return Identity(DEBUG_ACTOR, frozenset({"admin"}))
