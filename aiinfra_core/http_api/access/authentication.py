"""Find out who sends a request, before anything else looks at it.

A request is asked by nobody, or brings exactly one proof: a bearer token, a client certificate (of its connection, or in the header of a
trusted proxy) or, in development, the debug token. Two proofs are refused, so that nobody gets the stronger of two; where REQUIRE_MTLS
asks everybody for a certificate, a token beside it says who asks. A proof that does not count is 401 even where nobody need bring
one. Who brings too many of those is not listened to for a while. Whether somebody may do what they ask is decided by each route's `Demand`.
"""

import re
from math import ceil

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aiinfra_core.errors import AiInfraError, TooManyRequests, Unauthenticated
from aiinfra_core.http_api import problems
from aiinfra_core.http_api.access import certificates, debug_token, peers, roles
from aiinfra_core.http_api.access.certificates import Certificate
from aiinfra_core.http_api.access.identity import WHO_ARE_YOU, Identity
from aiinfra_core.http_api.access.oidc import BearerTokens
from aiinfra_core.http_api.limits import Rates
from aiinfra_core.settings import Settings

OPEN_PATHS = ("/health", "/livez", "/readyz")
"""Nobody is asked who they are here, not even for a certificate."""
_READING = ("GET", "HEAD", "OPTIONS")
_BEARER, _DEBUG, _DEBUG_ACTOR, _FORWARDED = b"authorization", b"x-debug-token", b"x-debug-actor", b"x-forwarded-for"
_CREDENTIALS = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_MAX_ACTOR = 256
_Brought = dict[bytes, list[bytes]]
_INVALID_TOKEN = 'Bearer realm="ai-infra", error="invalid_token"'  # noqa: S105 - RFC 6750's word


class Authentication:
    """Puts the identity of who asks into the scope (`aiinfra.identity`, None for nobody), and their address (`aiinfra.address`).

    Nobody gets no further than reading.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._roles = roles.read(settings)
        self._tokens = BearerTokens(settings, self._roles) if settings.oidc_issuer else None
        self._failures = Rates(settings.failed_proofs_per_minute / 60, settings.failed_proofs_per_minute)
        self._certificate_header = (settings.proxy_cert_header or "").encode()
        self._looked_at = {_BEARER, _DEBUG, _DEBUG_ACTOR, _FORWARDED, self._certificate_header}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who asks and pass the request on."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # nothing here is asked any other way

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        brought: _Brought = {}
        for name, value in scope["headers"]:
            if name in self._looked_at:
                brought.setdefault(name, []).append(value)
        scope["aiinfra.identity"] = None
        scope["aiinfra.address"] = self._address(scope, brought)
        try:
            if scope["path"].removeprefix(scope.get("root_path", "")) not in OPEN_PATHS:
                scope["aiinfra.identity"] = await self._identity(scope, brought)
                if scope["aiinfra.identity"] is None and scope["method"] not in _READING:
                    raise Unauthenticated(WHO_ARE_YOU)
        except AiInfraError as error:
            answer: ASGIApp = _refusal(scope, error, _BEARER in brought)
        else:
            answer = self._app
        await answer(scope, receive, send)

    async def _identity(self, scope: Scope, brought: _Brought) -> Identity | None:
        settings = self._settings
        certificate = self._certificate(scope, brought)
        if certificate is None and settings.require_mtls:
            raise Unauthenticated("Everybody needs a client certificate here.")
        shown = len(brought.get(_BEARER, ())) + len(brought.get(_DEBUG, ()))
        if shown > 1 or (shown and certificate and not settings.require_mtls):
            raise Unauthenticated("Bring one proof of who you are, not several.")
        if not shown:
            return self._certified(certificate) if certificate else None
        token = _token(brought[_BEARER][0]) if _BEARER in brought else None
        if token and self._tokens and (known := self._tokens.remembered(token)):
            return known
        wait = self._failures.wait(scope["aiinfra.address"])
        if wait and not (_DEBUG in brought and debug_token.is_beyond_guessing(settings, brought[_DEBUG][0])):
            raise TooManyRequests("Too many proofs from this address did not count; wait before the next.", ceil(wait))
        try:
            return await self._proved(token, brought)
        except Unauthenticated:
            self._failures.take(scope["aiinfra.address"])
            raise

    async def _proved(self, token: bytes | None, brought: _Brought) -> Identity:
        if _DEBUG in brought:
            name = brought.get(_DEBUG_ACTOR, [None])[0]
            return debug_token.identity(self._settings, brought[_DEBUG][0], name)
        if token is None:
            raise Unauthenticated("The Authorization header must be Bearer and one token.")
        if self._tokens is None:
            raise Unauthenticated("Bearer tokens are not taken here.")
        return await self._tokens.identity(token)

    def _certified(self, certificate: Certificate) -> Identity:
        actor = f"cert:{certificate.subject}"
        if len(actor) > _MAX_ACTOR:
            raise Unauthenticated("The client certificate's subject is too long to be recorded.")
        return Identity(actor, roles.of(self._roles, (actor,)), "client-certificate")

    # Behind a trusted proxy the certificate of the connection is the proxy's own: it says nothing about who asks.
    def _certificate(self, scope: Scope, brought: _Brought) -> Certificate | None:
        if not peers.is_one_of(_host(scope), self._settings.trusted_proxies):
            told = scope.get("aiinfra.client_certificate")
            return certificates.of_connection(told) if told else None
        sent = brought.get(self._certificate_header, ())
        if len(sent) > 1:
            raise Unauthenticated("The proxy sent several client certificates; it must replace the header, not add to it.")
        return certificates.of_header(sent[0]) if sent and sent[0] else None  # some proxies send it empty where there is none

    def _address(self, scope: Scope, brought: _Brought) -> str:
        forwarded = b",".join(brought.get(_FORWARDED, ())).decode("latin-1")
        return peers.address_of(_host(scope), forwarded, self._settings.trusted_proxies)


def _refusal(scope: Scope, error: AiInfraError, brought_token: bool) -> Response:
    response = problems.of(Request(scope), error)
    if isinstance(error, Unauthenticated) and brought_token:
        response.headers["WWW-Authenticate"] = _INVALID_TOKEN
    return response


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _token(authorization: bytes) -> bytes | None:
    whole = _CREDENTIALS.fullmatch(authorization)
    return whole[1] if whole else None
