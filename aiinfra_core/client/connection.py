"""One careful exchange with the service, and when it is tried again: bounded in time and size, redirects not followed.

What may be asked is in the rooms beside this one; what an answer means is in `answers`.
"""

import logging
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay

from aiinfra_core import outbound
from aiinfra_core.client import failures
from aiinfra_core.client.answers import Answer, error_of, not_ours, problem_in, wait_asked_for
from aiinfra_core.errors import AiInfraError, BadInput, Unavailable

logger = logging.getLogger(__name__)

_MAX_KEY = 128
_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to try, in seconds: one attempt, how long to begin others, the waits between them; and how many bytes to read.

    `unreached` is how long a read is tried where nobody has answered yet: perhaps the address is wrong. None is as long as `altogether`.
    """

    attempt: float = 30.0
    long_attempt: float = 600.0
    altogether: float = 60.0
    unreached: float | None = None
    first_wait: float = 0.25
    longest_wait: float = 10.0
    max_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True)
class Question:
    """What is asked: a path below the service's address, and the body as JSON."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    takes_long: bool = False
    final: frozenset[int] = frozenset()
    """Statuses that are an answer here, and not asked again."""


class Connection:
    """An open way to one service; threads may share it. Its repr names the address alone."""

    def __init__(self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext, patience: Patience) -> None:
        self.url, self._patience = outbound.endpoint("The service's URL", url), patience
        self._address, self._answered = failures.address(self.url), False
        self._client = httpx.Client(headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers}, verify=tls)

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def close(self) -> None:
        """Close it; what is under way in other threads fails."""
        self._client.close()

    def ask(self, question: Question) -> Answer:
        """Return the answer to a question, of whatever status; ask again where that can help and time is left.

        Raises:
            Unavailable: naming `service` or the part it lacks; no usable answer came.
            TooManyRequests, InFlight: and it stayed so.
        """
        patience = self._patience
        until = time.monotonic() + patience.altogether
        retrying = Retrying(
            stop=lambda state: stop_before_delay(self._how_long(question, state))(state),
            wait=self._wait,
            retry=retry_if_exception_type(_Again),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return retrying(self._attempt, question, until)
        except _Again as again:
            raise again.error from None

    def _attempt(self, question: Question, until: float) -> Answer:
        patience = self._patience
        seconds = patience.long_attempt if question.takes_long else max(0.1, min(patience.attempt, until - time.monotonic()))
        try:
            # httpx bounds each read but not their sum: a server that sends a byte now and then would hold us for ever.
            answer = outbound.within(seconds, lambda: self._exchange(question, seconds))
        except (TimeoutError, httpx.TimeoutException):
            raise _Again(Unavailable("service", f"No whole answer from {self._address} within {seconds:g} s; {failures.CHECK}")) from None
        except httpx.TransportError as error:
            told = Unavailable("service", failures.told(error, self._address))
            raise told if failures.is_lasting(error) else _Again(told, unreached=not self._answered) from None
        self._answered = True
        if answer.too_long:
            raise not_ours(self.url, f"its answer is longer than {self._patience.max_bytes} bytes")
        if answer.status not in question.final and _may_differ(answer):
            raise _Again(error_of(answer, self.url), wait_asked_for(answer))
        return answer

    def _exchange(self, question: Question, seconds: float) -> Answer:
        deadline = time.monotonic() + seconds
        sent = {"Content-Type": "application/json"} if question.body is not None else {}
        request = self._client.build_request(
            question.method,
            self.url + question.path,
            params={name: value for name, value in question.params.items() if value is not None},
            content=question.body,
            headers=sent | dict(question.headers),
            timeout=seconds,
        )
        response = self._client.send(request, stream=True, follow_redirects=False)
        try:
            return self._read(response, deadline)
        finally:
            response.close()

    def _read(self, response: httpx.Response, deadline: float) -> Answer:
        answer, body = Answer(response.status_code, response.headers, b""), bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self._patience.max_bytes:
                return replace(answer, too_long=True)
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the whole answer took too long", request=response.request)
        return replace(answer, body=bytes(body))

    def _how_long(self, question: Question, state: RetryCallState) -> float:
        patience = self._patience
        short = patience.unreached is not None and question.method == "GET" and _again(state).unreached
        return min(patience.unreached or 0.0, patience.altogether) if short else patience.altogether

    def _wait(self, state: RetryCallState) -> float:
        asked = _again(state).wait
        if asked is not None:
            return asked
        longest = min(self._patience.longest_wait, self._patience.first_wait * 2 ** min(state.attempt_number - 1, 30))
        return random.uniform(longest / 2, longest)  # noqa: S311 - it spreads callers, it hides nothing


class _Again(Exception):
    """An exchange failed in a way that another one may not; `wait` is what the service asks for, in seconds.

    `unreached` where nobody has ever answered on this way.
    """

    def __init__(self, error: AiInfraError, wait: float | None = None, *, unreached: bool = False) -> None:
        super().__init__(str(error))
        self.error, self.wait, self.unreached = error, wait, unreached


def key_header(key: str) -> dict[str, str]:
    """Return the header that names a request.

    Raises:
        BadInput: the key is not 1 to 128 printable ASCII letters without spaces.
    """
    if not (0 < len(key) <= _MAX_KEY and all("!" <= letter <= "~" for letter in key)):
        raise BadInput(f"A request id is 1 to {_MAX_KEY} printable ASCII letters without spaces.")
    return {"Idempotency-Key": key}


def _may_differ(answer: Answer) -> bool:
    """Say whether asking the same again may be answered otherwise; a promotion that is recorded as refused is an answer."""
    problem = problem_in(answer)
    if answer.status in _AGAIN:
        return problem is None or problem.promotion is None
    return problem is not None and problem.code == "in_flight"


def _again(state: RetryCallState) -> _Again:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Again)  # noqa: S101 - nothing else is tried again
    return error


def _log_retry(state: RetryCallState) -> None:
    logger.warning("%s Trying again (attempt %d).", _again(state).error, state.attempt_number + 1)
