"""Routes of models."""

from fastapi import APIRouter

from aiinfra_core.http_api.strict_json import StrictRoute

router = APIRouter(prefix="/ai-infra", tags=["models"], route_class=StrictRoute)
