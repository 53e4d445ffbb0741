"""Traces, sent to a real collector over OTLP/HTTP: spans of requests and of a promotion's steps, and no secret in any of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api.app import create_app
from aiinfra_core.settings import Settings
from tests.simulators.http_story import PROMOTE, open_to_debug, registered, stored
from tests.simulators.service import calling

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra tracing is not installed")
pytest.importorskip("opentelemetry.sdk.trace", reason="the extra tracing is not installed")


@dataclass
class Collector:
    """What was sent to an OTLP/HTTP collector."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)
    raw: bytes = b""

    def named(self, name: str) -> Any:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect spans on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.raw += body
            for group in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans:
                collector.resources.append(group.resource)
                for scope in group.scope_spans:
                    collector.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(trace_service.ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attributes(told: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in told.attributes}


def test_requests_and_the_steps_of_a_promotion_are_sent_under_the_callers_trace(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "registry-of-the-test")
        traced = open_to_debug(settings, otel_endpoint=collector.url)
        parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        with calling(traced) as api:
            artifact = registered(api, stored(settings, tmp_path))
            asked = {"artifactId": artifact, "environment": "staging", "evaluation": {"quality": 0.95}}
            assert api.post(PROMOTE, json=asked, headers={"traceparent": parent}).json()["status"] == "applied"
            assert api.get(f"/ai-infra/models/{artifact}x").status_code in (400, 404)
            assert api.get("/livez").status_code == 200
        promote = collector.named("POST /ai-infra/promote")
        assert (promote.trace_id.hex(), promote.parent_span_id.hex()) == ("ab" * 16, "cd" * 8)
        told = attributes(promote)
        assert (told["http.route"], told["http.response.status_code"], told["http.request.method"]) == ("/ai-infra/promote", 200, "POST")
        for step in ("verify_artifact", "decide", "sign_manifest", "apply"):
            span = collector.named(step)
            assert (span.trace_id, span.parent_span_id) == (promote.trace_id, promote.span_id)
        assert collector.named("POST /ai-infra/register").trace_id != promote.trace_id
        assert "GET /ai-infra/models/{id}" in {span.name for span in collector.spans}
        assert not any("livez" in span.name for span in collector.spans)
        assert {attributes(resource)["service.name"] for resource in collector.resources} == {"registry-of-the-test"}


def test_what_goes_wrong_is_marked_and_its_text_is_not_sent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a password: hunter2")

    monkeypatch.setattr("aiinfra_core.jobs.request_training", break_down)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with calling(open_to_debug(settings, otel_endpoint=collector.url)) as api:
            spec = {"codeRef": f"https://git.example.org/rain@{'a' * 40}", "containerDigest": f"sha256:{'c0' * 32}"}
            assert api.post("/ai-infra/train", json=spec).status_code == 500
        span = collector.named("POST /ai-infra/train")
        assert (span.status.code, attributes(span)["http.response.status_code"]) == (2, 500)
        assert b"hunter2" not in collector.raw
        assert b"a-debug-token-for-tests" not in collector.raw


def test_without_the_extra_the_variable_is_refused_with_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Misconfigured, match=r"ai-infrastructure\[tracing\]"):
        create_app(settings.model_copy(update={"otel_endpoint": "http://collector.example:4318"}))
    create_app(settings)


def test_without_an_endpoint_nothing_traces_whatever_else_is_set(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = create_app(settings)
    assert app.state.tracer_provider is None
    assert not app._native_telemetry.enabled()
