"""The OpenAPI document: what FastAPI knows of the routes, and what it does not: who may ask, and how problems are told.

`python -m scripts.openapi` keeps a copy in docs/openapi.json. The pages that show it are in `routes.docs`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel

from aiinfra_core.http_api.access.identity import Demand
from aiinfra_core.http_api.examples import EXAMPLES
from aiinfra_core.http_api.problems import EVERYWHERE, title_of
from aiinfra_core.http_api.rollout_examples import ROLLOUTS

DESCRIPTION = """\
A registry of models and the way they take into production, of which every claim can be checked again.

Errors are RFC 9457 problems whose text is also under `error`. Writes take an `Idempotency-Key`: the same request under the same key is done
once and answered the same. Lists are newest first; the address of the next page is in the `Link` header.
"""
TAGS = {
    "health": "Whether the service is alive and ready.",
    "training": "Ask for a training.",
    "registering": "Make stored bytes the next version of a model.",
    "promoting": "Make a version current in an environment.",
    "jobs": "Trainings and who runs them.",
    "models": "Registered versions, where they come from and what proves it.",
    "promotions": "What was asked for and how it was decided.",
    "environments": "What is current where.",
    "rollouts": "What earns its traffic, and on what evidence.",
    "cards": "What people say about a model.",
    "audit": "The signed history.",
}
_WITH_A_BODY = (408, 413, 415)
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_REQUEST_ID = "#/components/parameters/RequestId"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of your identity provider (OIDC)."},
    "clientCertificate": {"type": "mutualTLS", "description": "A client certificate whose subject has roles here."},
    "debugToken": {"type": "apiKey", "in": "header", "name": "X-Debug-Token", "description": "Development only; it may do everything."},
}
_PARAMETERS = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "description": "Your name for this call, for logs and traces; it comes back in the answer. Without one, one is made.",
        "schema": {"type": "string"},
        "example": "c0ffee01",
    }
}
_HEADERS = {
    "RequestId": {"description": "The name of this call in logs and traces.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds to wait before asking again.", "schema": {"type": "string"}},
    "Location": {"description": "Where what was made can be read.", "schema": {"type": "string"}},
}


def operation_id(route: APIRoute) -> str:
    """Return the short name of an operation."""
    return to_camel(route.name)


def document(app: FastAPI, routers: Iterable[APIRouter]) -> dict[str, Any]:
    """Return the whole document of an app that has these routers."""
    content = FastAPI.openapi(app)
    content["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    parts = content.setdefault("components", {})
    parts |= {"securitySchemes": _SECURITY, "parameters": _PARAMETERS, "headers": _HEADERS}
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    for schema in parts["schemas"].values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)  # pydantic's, made of the name: it says nothing new
    for name, example in (EXAMPLES | ROLLOUTS).items():
        parts["schemas"].get(name, {})["examples"] = [example]
    for route, method in _operations(routers):
        _complete(content["paths"][route.path][method], route)
    return content


def demand_of(route: APIRoute) -> Demand | None:
    """Return what a route demands of who asks, None where it is open to everybody."""
    return next(_demands(route.dependant), None)


def _demands(dependant: Dependant) -> Iterator[Demand]:
    for part in dependant.dependencies:
        if isinstance(part.call, Demand):
            yield part.call
        yield from _demands(part)


def _operations(routers: Iterable[APIRouter]) -> Iterator[tuple[APIRoute, str]]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in sorted(route.methods or ()):
                    yield route, method.lower()


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    demand = demand_of(route)
    operation["security"] = [] if demand is None else [{name: []} for name in _SECURITY] + ([{}] if demand.open_read else [])
    if demand is not None:
        operation["description"] += f"\n\nNeeds the role {' or '.join(demand.roles)}."
    operation.setdefault("parameters", []).append({"$ref": _REQUEST_ID})
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):  # FastAPI's own guess: here malformed requests are 400
        del responses["422"]
    for status in (*EVERYWHERE, *(_WITH_A_BODY if "requestBody" in operation else ())):
        if demand is not None or status not in (401, 403):
            responses.setdefault(str(status), {"description": title_of(status)})
    for status, response in responses.items():
        _complete_response(int(status), response)
    operation["responses"] = dict(sorted(responses.items()))


def _complete_response(status: int, response: dict[str, Any]) -> None:
    if status >= 400 and not _has_own_content(response):
        response["content"] = {"application/problem+json": {"schema": _PROBLEM}}
    headers = {"X-Request-Id": "RequestId"}
    headers |= {"Retry-After": "RetryAfter"} if status in (429, 503) else {}
    headers |= {"Location": "Location"} if status == 201 else {}
    response["headers"] = {name: {"$ref": f"#/components/headers/{part}"} for name, part in headers.items()} | response.get("headers", {})


def _has_own_content(response: dict[str, Any]) -> bool:
    return any(media.get("schema") != _PROBLEM for media in response.get("content", {}).values())
