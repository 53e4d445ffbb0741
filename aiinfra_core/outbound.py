"""One careful HTTP request to the parts we depend on: bounded in time and size, retried only where that can help.

`within` bounds any other call in time. What an answer means does not live here; see `signing.http_proxy`, `signing.vault` and
`policy.sentinelnet`.
"""

import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from ssl import SSLContext
from typing import TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from aiinfra_core.errors import Misconfigured, Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)
_HOST = re.compile(r"[0-9a-f.]*:[0-9a-f:.]*|([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")  # an IPv6 address, or a name
_MAX_PORT = 65535
_NAMES = {"go_service": "Go service"}
_ACCEPTED = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Patience:
    """How long to try: `timeout_seconds` bounds one whole attempt, connecting and reading included."""

    timeout_seconds: float = 5.0
    attempts: int = 3
    backoff_seconds: float = 0.2


@dataclass(frozen=True)
class Reply:
    """A status below 500 and the body; `too_long` when the body passed the limit, which leaves it empty.

    `media_type` is in small letters and without parameters, empty where none was named.
    """

    status: int
    body: bytes
    too_long: bool = False
    media_type: str = ""


def endpoint(setting: str, url: str) -> str:
    """Return the base URL without a slash at its end.

    Raises:
        Misconfigured: naming `setting`; it is no http(s) URL, or holds credentials, which would end in logs.
    """
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, TypeError):
        raise Misconfigured(f"{setting} is not a URL; write it like https://host:port.") from None
    if parsed.scheme not in ("http", "https") or not _HOST.fullmatch(parsed.raw_host.decode()) or (parsed.port or 1) > _MAX_PORT:
        raise Misconfigured(f"{setting} must be an http:// or https:// URL with a host.")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise Misconfigured(f"{setting} may not hold a user name, password, query or fragment.")
    return str(parsed).rstrip("/")


def post(
    part: str,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    patience: Patience,
    max_bytes: int,
    connect_to: str | None = None,
) -> Reply:
    """POST JSON and return the reply; try again on 5xx, connection errors and time-outs, never on anything else.

    Redirects are not followed, cookies not sent back, and a compressed body stays as it came. With `connect_to` (an IP address) the
    connection goes there and through no proxy, whatever the URL's host means; who answers is still checked against that host.

    Raises:
        Unavailable: no usable answer after `patience.attempts` attempts; names `part`.
    """
    request_headers = {"Content-Type": "application/json", **_ACCEPTED, **headers}
    request = httpx.Request("POST", url, content=body, headers=request_headers)
    if connect_to is not None:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host=connect_to)  # the Host header stays
    return _ask(part, request, patience, max_bytes)


def get(part: str, url: str, *, headers: Mapping[str, str] | None = None, patience: Patience, max_bytes: int) -> Reply:
    """GET JSON and return the reply, as patient and as careful as `post`.

    Raises:
        Unavailable: no usable answer after `patience.attempts` attempts; names `part`.
    """
    return _ask(part, httpx.Request("GET", url, headers={**_ACCEPTED, **(headers or {})}), patience, max_bytes)


def _ask(part: str, request: httpx.Request, patience: Patience, max_bytes: int) -> Reply:
    retrying = Retrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait_exponential_jitter(
            multiplier=patience.backoff_seconds, max=10 * patience.backoff_seconds, jitter=patience.backoff_seconds
        ),
        retry=retry_if_exception_type(Unavailable),
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        return retrying(_attempt, part, request, patience, max_bytes)
    except Unavailable as error:
        raise Unavailable(
            part, f"{error} {_gave_up(patience.attempts)}; check that the {_NAMES.get(part, part.replace('_', ' '))} runs and is reachable."
        ) from error


def _gave_up(attempts: int) -> str:
    return f"Gave up after {attempts} attempt{'s' if attempts > 1 else ''}"


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns or raises; a call that takes longer is left behind in a daemon thread of its own.

    Raises:
        TimeoutError: the time is over.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, which raises it
            future.set_exception(error)

    threading.Thread(target=run, name="outbound", daemon=True).start()
    return future.result(timeout=seconds)


def _log_retry(state: RetryCallState) -> None:
    logger.warning("%s Trying again (attempt %d).", state.outcome.exception() if state.outcome else "", state.attempt_number + 1)


def _attempt(part: str, request: httpx.Request, patience: Patience, max_bytes: int) -> Reply:
    seconds = patience.timeout_seconds
    try:
        # httpx bounds each read but not their sum: a server that sends a byte now and then would hold us for ever.
        reply = within(seconds, lambda: _exchange(request, seconds, max_bytes))
    except (TimeoutError, httpx.TimeoutException):
        raise Unavailable(part, f"No whole answer from {request.url.host} within {seconds:g} s.") from None
    except httpx.TransportError as error:
        raise Unavailable(part, f"The connection to {request.url.netloc.decode()} failed ({type(error).__name__}: {error}).") from error
    if reply.status >= 500:
        raise Unavailable(part, f"{request.url.host} answered HTTP {reply.status}.")
    return reply


def _exchange(request: httpx.Request, seconds: float, max_bytes: int) -> Reply:
    deadline = time.monotonic() + seconds
    request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
    idle = _idle_direct if "sni_hostname" in request.extensions else _idle
    client = _take_client(idle)
    try:
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            return _read(response, deadline, max_bytes)
        finally:
            response.close()
    finally:
        idle.append(client)


def _read(response: httpx.Response, deadline: float, max_bytes: int) -> Reply:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            return Reply(response.status_code, b"", too_long=True)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the whole answer took too long", request=response.request)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Reply(response.status_code, bytes(body), media_type=media_type)


# One client for each call under way, the last used first: httpx's own pool asks every idle connection whether it still lives.
_idle: deque[httpx.Client] = deque()
_idle_direct: deque[httpx.Client] = deque()  # those that take no notice of proxies in the environment


def _take_client(idle: deque[httpx.Client]) -> httpx.Client:
    try:
        return idle.pop()
    except IndexError:
        return httpx.Client(verify=_certificates(), trust_env=idle is _idle)


@lru_cache(maxsize=1)
def _certificates() -> SSLContext:
    return httpx.create_ssl_context()


# Two processes writing to one connection would read each other's answers.
os.register_at_fork(after_in_child=_idle.clear)
os.register_at_fork(after_in_child=_idle_direct.clear)
