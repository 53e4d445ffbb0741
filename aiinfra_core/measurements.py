"""What is counted and timed, under the names Prometheus reads; nothing is counted in a process that is never asked.

`keep` begins it, once in a process that serves; until then each of these functions does nothing. Several processes share a folder: each
writes to files of its own there (`process_is`), and `collected` adds them up. What the database knows is not counted here but looked up
when somebody asks, in `http_api.routes.metrics`; nor are spans made here, only asked for (`trace_steps`).
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 21600, 86400)
_MAX_KNOWN = 5000


class _Kept:
    """The objects of Prometheus, and those of them with labels by their labels: finding them there is quicker than asking."""

    def __init__(self, registry: "CollectorRegistry", folder: Path | None) -> None:
        from prometheus_client import Counter, Histogram

        def timed(name: str, does: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, does, labels, buckets=buckets, registry=registry)

        def counted(name: str, does: str, *labels: str) -> Counter:
            return Counter(name, does, labels, registry=registry)

        self.registry, self.folder = registry, folder
        self.training = timed("ai_infra_training_job_duration_seconds", "How long trainings ran, by how they ended.", _LONG, "status")
        self.registration = timed("ai_infra_artifact_registration_latency_seconds", "Registrations, with reading the bytes.", _QUICK)
        self.promotion = timed("ai_infra_promotion_latency_seconds", "Promotions, from the request to the pointer.", _QUICK)
        self.signing = timed("ai_infra_manifest_sign_latency_seconds", "Signatures of promotion manifests.", _QUICK)
        self.promotions = counted("ai_infra_promotions", "Promotions that ended, by how.", "status")
        self.suggestions = counted("ai_infra_drift_suggestions", "Trainings suggested because of drift.")
        self.http = timed(
            "ai_infra_http_request_duration_seconds", "Requests, by their route's template.", _QUICK, "method", "route", "status"
        )
        self.labelled: dict[tuple[Any, ...], Any] = {}


_kept: _Kept | None = None
_process = "server"
_traced: Callable[[str], AbstractContextManager[Any]] = nullcontext


def keep(folder: Path | None = None) -> None:
    """Begin to count; once more changes nothing.

    Args:
        folder: where the processes of one service keep their figures together; without it this process counts for itself.
    """
    global _kept
    if _kept is not None:
        return
    if folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # read by the library at each write to a new file
    from prometheus_client import CollectorRegistry, values

    if folder is not None:
        values.ValueClass = values.MultiProcessValue(lambda: _process)  # type: ignore[no-untyped-call]
    _kept = _Kept(CollectorRegistry(), folder)


def process_is(name: str) -> None:
    """Name this process; one that takes the place of a dead one takes its name, and counts on from where that stood."""
    global _process
    _process = name


def trace_steps(traced: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> None:
    """Have something done around each step of a promotion, given its name; without it nothing any more."""
    global _traced
    _traced = traced


def step(name: str) -> AbstractContextManager[Any]:
    """Give what is to be done around a step."""
    return _traced(name)


def collected() -> "CollectorRegistry":
    """Return the figures of all processes of this service."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if _kept is None:
        return CollectorRegistry()
    if _kept.folder is None:
        return _kept.registry
    together = CollectorRegistry()
    MultiProcessCollector(together, str(_kept.folder))  # type: ignore[no-untyped-call]
    return together


def training_ended(seconds: float, status: str) -> None:
    """Count a training that ended, completed or failed."""
    if _kept is not None:
        _labelled(_kept.training, status).observe(seconds)


def promotion_ended(status: str) -> None:
    """Count a promotion that came to its end."""
    if _kept is not None:
        _labelled(_kept.promotions, status).inc()


def request_ended(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered HTTP request; the route is its template, never the address that was asked for."""
    if _kept is not None:
        _labelled(_kept.http, method, route, str(status)).observe(seconds)


@contextmanager
def registration() -> Iterator[None]:
    """Time a registration that is made; one that is refused is not counted."""
    begun = time.perf_counter()
    yield
    if _kept is not None:
        _kept.registration.observe(time.perf_counter() - begun)


@contextmanager
def promotion() -> Iterator[None]:
    """Time a promotion that is decided, whatever the answer."""
    begun = time.perf_counter()
    yield
    if _kept is not None:
        _kept.promotion.observe(time.perf_counter() - begun)


@contextmanager
def manifest_signature() -> Iterator[None]:
    """Time the signature of a manifest."""
    begun = time.perf_counter()
    yield
    if _kept is not None:
        _kept.signing.observe(time.perf_counter() - begun)


def _labelled(metric: "Counter | Histogram", *labels: str) -> Any:
    assert _kept is not None  # noqa: S101 - asked by each caller
    key = (metric, *labels)
    found = _kept.labelled.get(key)
    if found is None:
        found = metric.labels(*labels)
        if len(_kept.labelled) < _MAX_KNOWN:
            _kept.labelled[key] = found
    return found
