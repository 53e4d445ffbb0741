"""Which error is which HTTP status, and how it is told: RFC 9457 problem+json with the text also under `error`."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aiinfra_core.errors import (
    AiInfraError,
    ArtifactMissing,
    BadInput,
    Conflict,
    DigestMismatch,
    EvidenceBroken,
    Forbidden,
    Misconfigured,
    NotFound,
    Outdated,
    Refused,
    RequestIdReused,
    TooLarge,
    TooManyRequests,
    TrainingFailed,
    Unauthenticated,
    Unavailable,
)
from aiinfra_core.wire import Problem

# The first class an error is of says its status; the order is from the special to the general.
STATUS: dict[type[AiInfraError], tuple[int, str]] = {
    ArtifactMissing: (422, "Nothing is stored there"),
    NotFound: (404, "Not found"),
    DigestMismatch: (422, "Digest mismatch"),
    TooLarge: (413, "Too large"),
    RequestIdReused: (422, "Idempotency-Key used for another request"),
    Outdated: (412, "What is current has changed"),
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
_TITLES = dict(STATUS.values()) | {405: "Method not allowed", 415: "Unsupported media type"}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about the problems a route may answer with; those every route may have are added."""
    every = sorted({*statuses, 400, 401, 403, 429, 500, 503})
    return {status: {"model": Problem, "description": _TITLES.get(status, "Problem")} for status in every}


def add_handlers(app: FastAPI) -> None:
    """Let an app tell its errors this way."""
    app.add_exception_handler(AiInfraError, _of_error)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _unexpected)


def problem(request: Request, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem as a response."""
    body = Problem(
        title=_TITLES.get(status, "Problem"), status=status, detail=text, error=text, request_id=request.scope.get("aiinfra.request_id")
    )
    return Response(body.model_dump_json(by_alias=True), status, headers, media_type="application/problem+json")


def of(request: Request, error: AiInfraError) -> Response:
    """Return an error as a response."""
    status = next(status for kind, (status, _) in STATUS.items() if isinstance(error, kind))
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="ai-infra"'
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "5"
    return problem(request, status, " ".join(str(error).split()), headers)


def _of_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AiInfraError)  # noqa: S101 - it is registered for these alone
    return of(request, error)


def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    wrong = "; ".join(f"{'.'.join(str(part) for part in item['loc'][1:]) or item['loc'][0]}: {item['msg']}" for item in error.errors())
    return problem(request, 400, f"The request is malformed: {wrong}.")


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    return problem(request, error.status_code, str(error.detail), dict(error.headers or {}))


# Its text may hold a secret: only its kind is told, and the log has the rest.
def _unexpected(request: Request, error: Exception) -> Response:
    return problem(request, 500, f"Something unexpected happened ({type(error).__name__}); the service's log has more.")
