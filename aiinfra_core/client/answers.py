"""What an answer means: records of `wire`, or the error of the core that the service told about."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_snake

from aiinfra_core import canonical_json, errors
from aiinfra_core.errors import AiInfraError, BadInput, EvidenceBroken, Misconfigured, TooManyRequests, Unavailable
from aiinfra_core.wire.records import SentPromotion
from aiinfra_core.wire.states import Problem

T = TypeVar("T")
_MOST_TEXT = 2000
_DEFAULT_WAIT = 5
_NO_SUCH_PATH = "Not Found"  # all a web server says of a path that it does not serve


@dataclass(frozen=True)
class Answer:
    """A status, headers and the body; `too_long` when the body passed the limit, which leaves it empty."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    too_long: bool = False


class PromotionUnavailable(Unavailable):
    """A part was missing while a promotion was judged: it is recorded as refused (`promotion`), and the same call asks anew."""

    def __init__(self, part: str, message: str, promotion: SentPromotion) -> None:
        super().__init__(part, message)
        self.promotion = promotion

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all of it when the error crosses a process."""
        return type(self), (self.part, str(self), self.promotion)


_SPECIAL = (TooManyRequests, Unavailable, EvidenceBroken, Misconfigured, AiInfraError)
_KINDS: dict[str, type[AiInfraError]] = {
    to_snake(name): kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, AiInfraError) and kind not in _SPECIAL
}
_OF_STATUS: dict[int, type[AiInfraError]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    408: errors.TooSlow,
    409: errors.Conflict,
    412: errors.Outdated,
    413: errors.TooLarge,
    415: errors.WrongMediaType,
}


def read(kind: type[T], answer: Answer, url: str) -> T:
    """Return what was answered as this kind of record, or tuple of records.

    Raises:
        AiInfraError: what the service told about; see `error_of`.
        Unavailable: naming `service`; the answer is not one of this API.
    """
    refuse_problem(answer, url)
    try:
        return cast(T, _reader(cast(Any, kind)).validate_python(_json(answer)))
    except BadInput as error:
        raise not_ours(url, str(error)) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise not_ours(url, f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from None


def refuse_problem(answer: Answer, url: str) -> None:
    """Raise what an answer tells about, if it is not a success."""
    if not 200 <= answer.status < 300:
        raise error_of(answer, url)


def page_of_html(answer: Answer, url: str) -> str:
    """Return a page that was answered.

    Raises:
        AiInfraError: what the service told about; see `error_of`.
        Unavailable: naming `service`; the answer is no page.
    """
    refuse_problem(answer, url)
    if not answer.headers.get("content-type", "").startswith("text/html"):
        raise not_ours(url, "it is no page of HTML")
    return answer.body.decode(errors="replace")


def error_of(answer: Answer, url: str) -> AiInfraError:
    """Return the error that an answer tells about; what is no answer of this API is Unavailable, naming `service`."""
    problem = problem_in(answer)
    if 300 <= answer.status < 400:
        return not_ours(url, f"it redirects (HTTP {answer.status}) and redirects are not followed")
    if problem is None:
        return not_ours(url, f"HTTP {answer.status} without a problem as this API tells it") if answer.status < 500 else _down(answer, url)
    text = problem.error[:_MOST_TEXT]
    if answer.status == 404 and text == _NO_SUCH_PATH:
        return not_ours(url, f"HTTP 404 {text}")
    if problem.promotion is not None:
        return PromotionUnavailable(problem.part or "service", text, problem.promotion)
    if answer.status == 429:
        return TooManyRequests(text, int(wait_asked_for(answer) or _DEFAULT_WAIT))
    if problem.code == "evidence_broken":
        place = problem.place or "the service"
        return EvidenceBroken(place, text.removeprefix(f"{place}: "))
    if answer.status >= 500:
        return Unavailable(problem.part or "service", text)
    return _KINDS.get(problem.code, _OF_STATUS.get(answer.status, BadInput))(text)


def problem_in(answer: Answer) -> Problem | None:
    """Return the problem an answer tells, None where it tells none."""
    if answer.status < 400:
        return None
    with suppress(BadInput, ValidationError):
        told = _json(answer)
        if isinstance(told, dict) and isinstance(told.get("error"), str):
            return Problem.model_validate({"title": "Problem", "detail": told["error"]} | told | {"status": answer.status})
    return None


def wait_asked_for(answer: Answer) -> float | None:
    """Return how many seconds the service asks to wait (Retry-After, seconds or a date), None where it does not."""
    asked = answer.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    return None


def next_page(answer: Answer) -> dict[str, str] | None:
    """Return the query of the next page that an answer links to, None at the end of a list."""
    links = httpx.Response(200, headers={"Link": answer.headers.get("link", "")}).links
    try:
        return dict(httpx.URL(links["next"]["url"]).params)
    except (KeyError, httpx.InvalidURL):
        return None


def not_ours(url: str, why: str) -> Unavailable:
    """Return the error for an answer that is none of this API."""
    return Unavailable("service", f"{url} does not answer as this API does ({why[:_MOST_TEXT].rstrip('.')}); check the address.")


def _down(answer: Answer, url: str) -> Unavailable:
    return Unavailable("service", f"{url} answered HTTP {answer.status}.")


def _json(answer: Answer) -> Any:
    kind = answer.headers.get("content-type", "nothing").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise BadInput(f"it is {kind[:80]}, not JSON")
    return canonical_json.loads(answer.body, what="The answer")


@lru_cache(maxsize=128)
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
