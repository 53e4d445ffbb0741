"""Routes of promotions."""

from fastapi import APIRouter

from aiinfra_core.http_api.strict_json import StrictRoute

router = APIRouter(prefix="/ai-infra", tags=["promotions"], route_class=StrictRoute)
