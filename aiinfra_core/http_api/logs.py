"""What the service writes to standard error: JSON lines, or readable ones at a terminal; one line for each answered request.

Whatever is logged while a request is carried out says which request it was and who asked. No line leaves before `redaction` has seen
every text in it, tracebacks too.
"""

import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pythonjsonlogger.core import BaseJsonFormatter
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aiinfra_core import measurements
from aiinfra_core.http_api import problems
from aiinfra_core.http_api.redaction import redactor
from aiinfra_core.settings import Settings

_access = logging.getLogger("aiinfra.requests")
_unexpected = logging.getLogger("aiinfra.unexpected")
_current: ContextVar[Scope | None] = ContextVar("aiinfra_request", default=None)

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,200}")  # as `domain.record.RequestId`
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
_UNMATCHED = "unmatched"
_MAX_PATH = 2048
_GONE = 499  # the client left before there was an answer; no status of HTTP says that
_NAMES = {"levelname": "level", "name": "logger"}


def configure(settings: Settings) -> None:
    """Let this process and those forked from it write its log."""
    handler = _Lines()
    handler.setFormatter((_Readable if _is_readable(settings) else _JsonLines)(redactor(settings)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # what it tells of a good day, `server` tells better
    for chatty in ("httpx", "httpcore", "botocore", "aiobotocore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # in no line, and not free


class Requests:
    """Names each request, and when it is answered times it, counts it and writes its line; the outermost of the middleware."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and tell of it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status = time.perf_counter(), 0
        request_id = scope["aiinfra.request_id"] = _request_id(scope)
        token = _current.set(scope)

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:
            _unexpected.exception("Something unexpected happened.")
            if status:
                raise
            await _told(scope, error)(scope, receive, send_named)
        except asyncio.CancelledError:  # at the end of the drain; what was begun may be done or not, and may be asked for again
            if status:
                raise
            answer = problems.problem(Request(scope), 503, "The service ends before this was done; ask again.", {"Retry-After": "1"})
            await answer(scope, receive, send_named)
        finally:
            _tell(scope, self._template(scope), status or _GONE, time.perf_counter() - begun)
            _current.reset(token)
        return None

    def _template(self, scope: Scope) -> str:
        route = scope.get("route")
        if "router" not in scope:  # it was answered on the way there
            found = {route.matches(scope)[0]: route for route in reversed(self._routes)}
            route = found.get(Match.FULL) or found.get(Match.PARTIAL)
        template: str = getattr(route, "path", _UNMATCHED)
        return template


def _told(scope: Scope, error: Exception) -> ASGIApp:
    answer: ASGIApp = scope["app"].exception_handlers[Exception](Request(scope), error)
    return answer


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode("ascii") if _REQUEST_ID.fullmatch(value) else str(uuid4())
    return str(uuid4())


def _tell(scope: Scope, route: str, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    measurements.request_ended(method, route, status, seconds)
    level = logging.DEBUG if route in _PROBES and status < 400 else logging.INFO
    if _access.isEnabledFor(level):
        path = _bounded(scope["path"])
        told = {"method": method, "route": route, "path": path, "status": status, "durationMs": round(1000 * seconds, 2)}
        _access.log(level, "%s %s %d", method, path, status, extra=told)


# It is cut at a slash: half a secret would not be known for one.
def _bounded(path: str) -> str:
    return path if len(path) <= _MAX_PATH else path[:_MAX_PATH].rpartition("/")[0] + "/…"


def _of_request() -> dict[str, Any]:
    scope = _current.get()
    if scope is None:
        return {}
    identity = scope.get("aiinfra.identity")
    return {"requestId": scope.get("aiinfra.request_id"), "actor": identity.actor if identity else None}


def _is_readable(settings: Settings) -> bool:
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


class _Lines(logging.Handler):
    """Writes each line at once and whole, so that those of several processes do not run into each other."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            os.write(2, f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except OSError:
            pass  # nobody reads it; that must not stop the service
        except Exception:  # noqa: BLE001 - as every handler of the library does
            self.handleError(record)


class _JsonLines(BaseJsonFormatter):
    def __init__(self, redacted: Callable[[str], str]) -> None:
        super().__init__(["levelname", "name", "message"], rename_fields=_NAMES)
        self._redacted = redacted

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the time and the request, and take every secret out."""
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **log_data, **_of_request()}
        if all(value is None or isinstance(value, (str, int, float)) for value in told.values()):
            together = "\0".join((*told, *(value for value in told.values() if isinstance(value, str))))
            if self._redacted(together) == together:  # almost always, and one look is quicker than ten
                return told
        return {self._redacted(name): _clean(self._redacted, value) for name, value in told.items()}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return the line."""
        return json.dumps(log_data, ensure_ascii=False)


class _Readable(logging.Formatter):
    def __init__(self, redacted: Callable[[str], str]) -> None:
        super().__init__()
        self._redacted = redacted

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it."""
        about = _of_request()
        took = f" {record.__dict__['durationMs']} ms" if "durationMs" in record.__dict__ else ""
        who = f"  {about['actor'] or '-'} {about['requestId']}" if about else ""
        line = f"{datetime.now():%H:%M:%S} {record.levelname:<7} {_printable(record.getMessage())}{took}{_printable(who)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redacted(line)


def _clean(redacted: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {redacted(str(name)): _clean(redacted, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(redacted, item) for item in value]
    return redacted(str(value))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
