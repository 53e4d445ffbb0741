"""Which error is which HTTP status, and how it is told: RFC 9457 problem+json with the text also under `error`."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic.alias_generators import to_snake
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aiinfra_core.domain.record import causes, in_words
from aiinfra_core.errors import (
    AiInfraError,
    ArtifactMissing,
    BadInput,
    Conflict,
    DigestMismatch,
    EvidenceBroken,
    Forbidden,
    InFlight,
    Misconfigured,
    NotFound,
    Outdated,
    Refused,
    RequestIdReused,
    TooLarge,
    TooManyRequests,
    TooSlow,
    TrainingFailed,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
)
from aiinfra_core.wire.states import Problem

# The first class an error is of says its status; the order is from the special to the general.
STATUS: dict[type[AiInfraError], tuple[int, str]] = {
    ArtifactMissing: (422, "Nothing is stored there"),
    NotFound: (404, "Not found"),
    DigestMismatch: (422, "Digest mismatch"),
    TooLarge: (413, "Too large"),
    TooSlow: (408, "Too slow"),
    WrongMediaType: (415, "Unsupported media type"),
    RequestIdReused: (422, "Used before for something else"),
    Outdated: (412, "Not as you saw it"),
    Conflict: (409, "Conflict"),
    BadInput: (400, "Malformed request"),
    Unauthenticated: (401, "Who are you?"),
    Forbidden: (403, "Not allowed"),
    TooManyRequests: (429, "Too many requests"),
    Refused: (409, "Refused"),
    TrainingFailed: (409, "The training failed"),
    Unavailable: (503, "A required part is unavailable"),
    EvidenceBroken: (500, "Something recorded does not verify"),
    Misconfigured: (500, "The service is misconfigured"),
}
# What a status means in general; an error has a title of its own.
_TITLES = dict(reversed(STATUS.values())) | {
    404: "Not found",
    405: "Method not allowed",
    409: "Not as things stand now",
    422: "Not what was named",
    500: "Something went wrong here",
}
# What a program reads: the name of the error, or of what the status means where no error of ours was raised.
_CODES = {status: to_snake(kind.__name__) for kind, (status, _) in STATUS.items()} | {
    405: "method_not_allowed",
    409: "conflict",
    422: "bad_input",
    500: "unexpected",
}
EVERYWHERE = (400, 401, 403, 429, 500, 503)
"""What any route may answer with."""
_MAX_TEXT = 2000
_NOTHING_HERE = "Nothing is here; what there is, /docs shows to people and /openapi.json to programs."


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about the problems a route may answer with; those every route may have are added."""
    every = sorted({*statuses, *EVERYWHERE})
    return {status: {"model": Problem, "description": title_of(status)} for status in every}


def title_of(status: int) -> str:
    """Return what a status means in general."""
    return _TITLES.get(status, "Problem")


def add_handlers(app: FastAPI) -> None:
    """Let an app tell its errors this way."""
    app.add_exception_handler(AiInfraError, _of_error)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _unexpected)


def problem(request: Request, status: int, text: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """Return a problem as a response; `more` are further members of `Problem`."""
    told = {"title": title_of(status), "code": _CODES.get(status, "problem"), "request_id": request.scope.get("aiinfra.request_id")}
    body = Problem(status=status, detail=text[:_MAX_TEXT], error=text[:_MAX_TEXT], **told | more)
    empty = {name for name in Problem.model_fields if getattr(body, name) is None}
    return Response(body.model_dump_json(by_alias=True, exclude=empty), status, headers, media_type="application/problem+json")


def of(request: Request, error: AiInfraError) -> Response:
    """Return an error as a response."""
    status, title = next(told for kind, told in STATUS.items() if isinstance(error, kind))
    headers, more = {}, {"title": title, "code": to_snake(type(error).__name__)}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="ai-infra"'
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, InFlight):
        headers["Retry-After"] = "1"
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "5"
        more["part"] = error.part
    if isinstance(error, EvidenceBroken):
        more["place"] = error.place
    return problem(request, status, " ".join(str(error).split()), headers, **more)


def _of_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AiInfraError)  # noqa: S101 - it is registered for these alone
    return of(request, error)


def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    found = causes(error.errors())
    wrong = "; ".join(f"{'.'.join(str(part) for part in item['loc'][1:]) or item['loc'][0]}: {in_words(item)}" for item in found)
    return problem(request, 400, f"The request is malformed: {wrong}.")


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    text = _NOTHING_HERE if request.scope["path"] == "/" and error.status_code == 404 else str(error.detail)
    return problem(request, error.status_code, text, dict(error.headers or {}))


# Its text may hold a secret: only its kind is told, and the log has the rest.
def _unexpected(request: Request, error: Exception) -> Response:
    return problem(request, 500, f"Something unexpected happened ({type(error).__name__}); the service's log has more.")
