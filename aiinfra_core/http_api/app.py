"""Puts the API together."""

from fastapi import FastAPI

from aiinfra_core.http_api import problems
from aiinfra_core.http_api.access.authentication import Authentication
from aiinfra_core.http_api.routes import audit, cards, environments, health, jobs, models, promoting, promotions, registering, training
from aiinfra_core.settings import Settings

_ROUTES = (health, training, registering, promoting, jobs, models, promotions, environments, cards, audit)


def create_app(settings: Settings) -> FastAPI:
    """Return the API over these settings."""
    app = FastAPI(title="AI & Infrastructure", version="0.1.0", docs_url=None, redoc_url=None)
    app.state.settings = settings
    problems.add_handlers(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.add_middleware(Authentication, settings=settings)
    return app
