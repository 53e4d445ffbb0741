"""Ask the replaced service what it has recorded, believing nothing: every answer is bounded, every odd one an error that says so."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from aiinfra_core import canonical_json, outbound
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.importing import reading
from aiinfra_core.outbound import Patience, Reply

T = TypeVar("T")
PART = "go_service"
PAGE = 100
MOST_ARTIFACTS = 500_000
_MOST_STALE = 3  # pages in a row that bring nothing new: the list ends here, or the service takes no notice of the offset
MAX_BYTES = 16 * 2**20
_MAX_URL = 500
_PATIENCE = Patience(timeout_seconds=30.0)
_OK = 200
_NOT_THERE = {404, 405, 410, 501}
_NOT_ALLOWED = {401, 403}


@dataclass(frozen=True)
class GoService:
    """The replaced service: its address, which names it in all that is imported, and what is sent along."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def service_at(url: str, token: str | None) -> GoService:
    """Return the service at an address.

    Raises:
        BadInput: the address is no http(s) URL, is too long or holds credentials, or the token cannot stand in a header.
    """
    try:
        address = outbound.endpoint("--from-go-service", url)
    except Misconfigured as error:
        raise BadInput(str(error)) from None
    if len(address) > _MAX_URL:
        raise BadInput(f"--from-go-service may have {_MAX_URL} letters.")
    if token is None:
        return GoService(address)
    if not token or not all("!" <= letter <= "~" for letter in token):
        raise BadInput("The token must be printable ASCII without spaces.")
    return GoService(address, {"X-Debug-Token": token, "Authorization": f"Bearer {token}"})


def artifact_ids(service: GoService) -> list[str]:
    """Return the id of every artifact, oldest first; the service lists the newest first.

    Raises:
        BadInput: what it answers cannot be understood, or never ends.
        Unavailable: it cannot be reached.
    """
    listed = list(_listed(service))
    return _oldest_first([one for one, _ in listed], [time for _, time in listed])


def artifact_and_promotions(service: GoService, artifact_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the record of an artifact and those of its promotions, oldest first, as they came.

    Raises:
        BadInput: what it answers cannot be understood, or the artifact is gone.
        Unavailable: it cannot be reached.
    """
    path = f"models/{quote(artifact_id, safe='')}"
    answer = _object(_json(service, path), path)
    artifact = _object(answer.get("artifact", answer), path)
    if reading.text(artifact.get("id")) != artifact_id:
        raise BadInput(f"{service.url} answered {path} with another artifact; look at what it does.")
    promotions = [_object(one, path) for one in _array(answer.get("promotions"), path)]
    return artifact, _oldest_first(promotions, [reading.time(one.get("createdAt")) for one in promotions])


def job(service: GoService, job_id: str) -> dict[str, Any] | None:
    """Return the record of a training job; None where the service does not tell of jobs, as most do not.

    Raises:
        BadInput: what it answers cannot be understood.
        Unavailable: it cannot be reached.
    """
    path = f"jobs/{quote(job_id, safe='')}"
    reply = _get(service, path)
    if reply.status in _NOT_THERE:
        return None
    answer = _object(_read(service, path, reply), path)
    found = _object(answer.get("job", answer), path)
    return found if reading.text(found.get("id")) == job_id else None


def _listed(service: GoService) -> Iterator[tuple[str, datetime | None]]:
    """Yield id and time of every artifact; one that is listed again, because others came meanwhile, is passed over."""
    seen: set[str] = set()
    offset = stale = 0
    while stale < _MOST_STALE:
        path = f"models?limit={PAGE}&offset={offset}"
        page = [_object(one, path) for one in _array(_json(service, path), path)]
        if not page:
            return
        new = {reading.identity(one): reading.time(one.get("createdAt")) for one in page if reading.identity(one) not in seen}
        seen |= new.keys()
        offset, stale = offset + len(page), 0 if new else stale + 1
        if len(seen) > MOST_ARTIFACTS:
            raise BadInput(f"{service.url} lists more than {MOST_ARTIFACTS:,} artifacts; is that the service that is replaced?")
        yield from new.items()


def _oldest_first(newest_first: Sequence[T], times: Sequence[datetime | None]) -> list[T]:
    known = [time for time in times if time is not None]
    order: Iterable[int] = reversed(range(len(newest_first)))
    if len(known) == len(newest_first):
        order = sorted(order, key=lambda place: known[place])
    return [newest_first[place] for place in order]


def _json(service: GoService, path: str) -> Any:
    return _read(service, path, _get(service, path))


def _get(service: GoService, path: str) -> Reply:
    url = f"{service.url}/ai-infra/{path}"
    return outbound.get(PART, url, headers=service.headers, patience=_PATIENCE, max_bytes=MAX_BYTES)


def _read(service: GoService, path: str, reply: Reply) -> Any:
    if reply.too_long:
        raise BadInput(f"{service.url} answered {path} with more than {MAX_BYTES:,} bytes; that is no list of artifacts.")
    if reply.status in _NOT_ALLOWED:
        raise BadInput(f"{service.url} does not let us read (HTTP {reply.status}); give a token with --token.")
    if reply.status != _OK:
        raise BadInput(f"{service.url} answered {path} with HTTP {reply.status}; check the address, which ends before /ai-infra.")
    return canonical_json.loads(reply.body, what=f"The answer of {service.url} to {path}")


# Go writes an empty list as null.
def _array(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput(f"The answer to {path} is no list; is that the service that is replaced?")
    return value


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"The answer to {path} holds something else than a record; is that the service that is replaced?")
    return value
