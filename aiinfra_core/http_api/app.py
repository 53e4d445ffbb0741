"""Puts the API together."""

from functools import lru_cache

from fastapi import FastAPI

from aiinfra_core import measurements
from aiinfra_core.http_api import openapi, problems, tracing
from aiinfra_core.http_api.access.authentication import Authentication
from aiinfra_core.http_api.lifespan import lifespan
from aiinfra_core.http_api.limits import Limits, SafeHeaders
from aiinfra_core.http_api.logs import Requests
from aiinfra_core.http_api.routes import (
    approvals,
    audit,
    cards,
    docs,
    environments,
    health,
    jobs,
    metrics,
    model_evidence,
    models,
    observations,
    promoting,
    promotions,
    registering,
    reproductions,
    rolling_back,
    rollouts,
    scans,
    training,
)
from aiinfra_core.settings import Settings

VERSION = "0.1.0"
_ROUTES = (
    health,
    metrics,
    training,
    registering,
    promoting,
    rolling_back,
    jobs,
    models,
    model_evidence,
    reproductions,
    scans,
    promotions,
    approvals,
    environments,
    rollouts,
    observations,
    cards,
    audit,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the API over these settings."""
    measurements.keep()
    tracer_provider = tracing.made_provider(settings)
    app = FastAPI(
        title="AI & Infrastructure",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_url=None,
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        telemetry=tracing.telemetry(tracer_provider),
    )
    app.state.settings, app.state.tracer_provider = settings, tracer_provider
    problems.add_handlers(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.include_router(docs.router)
    routers = [routes.router for routes in _ROUTES]
    # As FastAPI's own guide replaces it.
    app.openapi = lru_cache(maxsize=1)(lambda: openapi.document(app, routers))  # type: ignore[method-assign]
    app.add_middleware(Limits, settings=settings)  # each one added is outside of those before it
    app.add_middleware(Authentication, settings=settings)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Requests, routes=[route for router in (*routers, docs.router) for route in router.routes])
    return app
