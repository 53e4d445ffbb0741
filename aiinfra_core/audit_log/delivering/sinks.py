"""What the log is delivered to: the configured addresses, and the names they go by where nothing secret may stand.

How a sink takes an event lives in `cloud_events` and `archive`, how far each one is in `progress`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from aiinfra_core import artifact_store, checksums, outbound
from aiinfra_core.artifact_store import Location
from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.settings import Settings

SETTING = "AI_INFRA_AUDIT_SINKS"
Row = Mapping[str, Any]
Take = Callable[[Sequence[Row]], Iterator[str | None]]
"""What a sink does with events: for each, in order, None once it has it, or why it will never take it.

It raises `Unavailable` at the first event that may be taken later.
"""

LATER = {401, 403, 404, 405, 407, 408, 421, 425, 426, 429}
"""Answers about the door, not about the event: no token, a wrong address, too many at once."""
_LEAST_OF_ID = 8


@dataclass(frozen=True)
class Sink:
    """One address; `id` is its hex SHA-256, `name` says where it is without what in it may be secret.

    `archive` is the place of an archive, None for an HTTP sink; `listens` says who does: everybody else is given the log as it is.
    """

    address: str = field(repr=False)
    id: str
    name: str
    archive: Location | None
    listens: Literal["bus", "people", "router"] = "bus"


def configured(settings: Settings) -> list[Sink]:
    """Return every configured sink.

    Raises:
        Misconfigured: an address is no sink's or comes twice; it is named by its place in the list.
    """
    found: dict[str, Sink] = {}
    for number, address in enumerate(filter(None, settings.audit_sinks), start=1):
        sink = _sink(settings, address, f"Address {number} of {SETTING}")
        if sink.id in found:
            raise Misconfigured(f"Address {number} of {SETTING} is there twice; name each sink once.")
        found[sink.id] = sink
    return [*found.values(), *filter(None, (of_webhook(settings), of_router(settings)))]


def named(settings: Settings, text: str) -> Sink:
    """Return the configured sink with this address, or whose id begins so (8 digits at least).

    Raises:
        NotFound: there is none, or more than one.
        Misconfigured: as `configured`.
    """
    same = [
        one for one in configured(settings) if text.rstrip("/") == one.address or (len(text) >= _LEAST_OF_ID and one.id.startswith(text))
    ]
    if len(same) != 1:
        raise NotFound("No configured sink has that address or id; see: aiinfra audit sinks")
    return same[0]


def of_archive(place: Location) -> Sink:
    """Return the sink that an archive is, configured or not."""
    return Sink(place.root, checksums.sha256_hex(place.root.encode()), place.root, place)


def of_webhook(settings: Settings) -> Sink | None:
    """Return the webhook that people are told by, if there is one.

    Raises:
        Misconfigured: its address is no URL.
    """
    if settings.notify_url is None:
        return None
    url = outbound.endpoint("AI_INFRA_NOTIFY_URL", settings.notify_url.get_secret_value())
    return Sink(url, checksums.sha256_hex(f"notify {url}".encode()), f"{_without_path(url)} (notifications)", None, "people")


def of_router(settings: Settings) -> Sink | None:
    """Return the webhook that a router is told by how traffic is split, if there is one.

    Raises:
        Misconfigured: its address is no URL.
    """
    if settings.router_url is None:
        return None
    url = outbound.endpoint("AI_INFRA_ROUTER_URL", settings.router_url.get_secret_value())
    return Sink(url, checksums.sha256_hex(f"router {url}".encode()), f"{_without_path(url)} (router)", None, "router")


def _sink(settings: Settings, address: str, named: str) -> Sink:
    if not address.startswith(("http://", "https://")):
        return of_archive(artifact_store.location_at(settings, address, named))
    url = outbound.endpoint(named, address)
    parts = urlsplit(url)
    if settings.audit_sink_token is not None and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise Misconfigured(f"{named} must be https:// while AI_INFRA_AUDIT_SINK_TOKEN is set; a token does not travel in the clear.")
    return Sink(url, checksums.sha256_hex(url.encode()), _without_path(url), None)


def _without_path(url: str) -> str:
    """Return an address without its path, which is often the whole secret of a webhook."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{'/…' if parts.path else ''}"
