"""The service's own access layers, on a real socket, around one address that answers who asks; no database is needed for it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aiinfra_core.http_api.access.authentication import Authentication
from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.http_api.limits import Limits, SafeHeaders
from aiinfra_core.http_api.tls import HttpProtocol
from aiinfra_core.settings import Settings
from tests.simulators.service import serving_app

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For a client that speaks plain HTTP: it has no list of authorities to read, which takes long."""


async def _who(request: Request) -> Response:
    identity: Identity | None = request.scope["aiinfra.identity"]
    body = await request.body()
    told = {"body": len(body), "address": request.scope["aiinfra.address"]}
    return JSONResponse(told | ({"actor": identity.actor, "roles": sorted(identity.roles)} if identity else {}))


def made_app(settings: Settings) -> Starlette:
    """Return the layers in the order of the service."""
    ways = ["GET", "POST"]
    app = Starlette(routes=[Route("/who", _who, methods=ways), Route("/livez", _who, methods=ways)])
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Authentication, settings=settings)
    app.add_middleware(SafeHeaders)
    return app


@contextmanager
def asking(settings: Settings, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve `/who` and the always open `/livez`; give the service's address."""
    config = uvicorn.Config(made_app(settings), http=HttpProtocol, log_level="error", proxy_headers=False, lifespan="off")
    with serving_app(config, tls) as url:
        yield url
