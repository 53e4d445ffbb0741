"""Read request bodies as evidence is read: duplicate keys, NaN and broken UTF-8 are refused, not guessed at."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = canonical_json.loads(await self.body(), what="The body")
            except BadInput as error:
                raise HTTPException(400, str(error)) from error  # FastAPI hides what any other error says
        return self._json


class StrictRoute(APIRoute):
    """A route that reads JSON strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the strict request to FastAPI's own handler."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly
