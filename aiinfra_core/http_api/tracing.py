"""Traces over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT says where to; where it does not, nothing of it is made.

FastAPI makes the span of each request, under its route's name and the caller's `traceparent`; the steps of a promotion are below it.
Texts of errors go into no span, for they are somebody else's to read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig

from aiinfra_core import measurements
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NOTHING: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}
_QUIET = frozenset({"/health", "/livez", "/readyz", "/metrics"})


def made_provider(settings: Settings) -> "TracerProvider | None":
    """Return what makes spans, None where nobody wants them; it sends none before `sending`, so that a process may still fork.

    Raises:
        Misconfigured: they are wanted, and the packages for it are not here.
    """
    if not settings.otel_endpoint:
        return None
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401 - that it is there is found out before the first request
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError as error:
        raise Misconfigured(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and a package for it is not here ({error.name}): pip install 'ai-infrastructure[tracing]'"
        ) from None
    return TracerProvider(resource=Resource({SERVICE_NAME: "ai-infra"}).merge(OTELResourceDetector().detect()), shutdown_on_exit=False)


def telemetry(provider: "TracerProvider | None") -> TelemetryConfig:
    """Return what FastAPI is to do; without a provider nothing, whatever else is in its environment."""
    if provider is None:
        return _NOTHING
    return {**_NOTHING, "tracing": True, "tracer_provider": provider, "exclude": lambda scope: scope.get("path") in _QUIET}


@contextmanager
def sending(provider: "TracerProvider | None") -> Iterator[None]:
    """Send the spans that are made while the block runs, those of a promotion's steps too; the last ones at its end."""
    if provider is None:
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("aiinfra")
    measurements.trace_steps(lambda name: tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False))
    try:
        yield
    finally:
        measurements.trace_steps()
        provider.shutdown()
