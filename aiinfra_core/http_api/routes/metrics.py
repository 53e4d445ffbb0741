"""`/metrics`: what all workers counted, and what the database knows, in Prometheus' text."""

import logging
import time
from collections.abc import Iterator
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aiinfra_core import database, measurements
from aiinfra_core.audit_log.delivering import progress, sinks
from aiinfra_core.audit_log.figures import figures
from aiinfra_core.errors import AiInfraError
from aiinfra_core.http_api.access.identity import PublicInDevelopment
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import rollouts
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)
router = APIRouter(tags=["health"], route_class=StrictRoute)

_SECONDS = 2
_BELIEVED_SECONDS = 2.0
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The figures"}}


@router.get("/metrics", response_class=Response, responses=_TEXT)
def metrics(request: Request, _who: PublicInDevelopment) -> Response:
    """Return the figures of all workers of this service, and how far the audit log is."""
    looked_up = CollectorRegistry()
    state = request.app.state
    if not hasattr(state, "log_figures"):
        state.log_figures = _LookedUp(state.settings)
    looked_up.register(state.log_figures)
    return Response(generate_latest(measurements.collected()) + generate_latest(looked_up), media_type=CONTENT_TYPE_LATEST)


class _LookedUp(Collector):
    """What the database said last; it is asked by one at a time, and not again while that is young, however many want to know."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, Lock()
        self._found: list[Metric] = []
        self._believed_until = 0.0

    def collect(self) -> list[Metric]:
        """Return the figures, at most some seconds old."""
        with self._lock:
            if time.monotonic() >= self._believed_until:
                self._found = list(_families(self._settings))
                self._believed_until = time.monotonic() + _BELIEVED_SECONDS
            return self._found


def _families(settings: Settings) -> Iterator[Metric]:
    try:
        with database.impatient(settings, _SECONDS) as connection:
            log, standing = figures(connection), progress.standing(connection, sinks.configured(settings))
            sent_back, oldest_look = rollouts.number_sent_back(connection), rollouts.oldest_look(connection)
    except AiInfraError as error:
        logger.warning("The figures of the audit log are missing: %s", error)
        yield _gauge("ai_infra_database_up", "Whether the database answered.", 0)
        return
    yield _gauge("ai_infra_database_up", "Whether the database answered.", 1)
    yield CounterMetricFamily("ai_infra_canary_rollbacks", "Canaries that were sent back, by a look or by a person.", value=sent_back)
    yield _gauge("ai_infra_rollout_oldest_look_seconds", "For how long an open rollout was not looked at, at most.", oldest_look)
    yield _gauge("ai_infra_audit_outbox_waiting", "Events that are not chained yet, of many not all.", log.waiting)
    yield _gauge("ai_infra_audit_log_events", "Events in the log.", log.events)
    yield _gauge("ai_infra_audit_log_uncovered_events", "Events that no checkpoint covers yet.", log.events - log.covered)
    if log.checkpoint_age is not None:
        yield _gauge("ai_infra_audit_checkpoint_age_seconds", "Age of the newest checkpoint.", log.checkpoint_age)
    lag = GaugeMetricFamily("ai_infra_audit_sink_lag_events", "Events a sink was not given yet.", labels=("sink", "id"))
    letters = GaugeMetricFamily("ai_infra_audit_sink_dead_letters", "Events a sink does not take.", labels=("sink", "id"))
    for one in standing:
        labels = (one.sink.name, one.sink.id[:8])
        lag.add_metric(labels, one.lag)
        letters.add_metric(labels, one.dead_letters)
    yield from (lag, letters)


def _gauge(name: str, does: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, does, value=value)
