"""The service's log: one line for each request, every line says which request it was, and no secret gets into any of it."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from aiinfra_core.http_api import logs, redaction
from aiinfra_core.settings import Settings
from tests.simulators.http_story import open_to_debug
from tests.simulators.service import AS_DEBUG, calling

Lines = Callable[[], list[dict[str, Any]]]
SECRETS = {
    "database_url": SecretStr("postgresql://robot:p%40ss-w0rd-of-the-database@db.example/models"),
    "debug_token": SecretStr("the-debug-token-9f8e"),
    "audit_sink_token": SecretStr('sink-token-with-"quotes"-and-\\'),
    "prefect_api_key": SecretStr("pnu_1234567890"),
    "audit_sinks": ("https://hooks.example/services/T000/B000/webhook-secret",),
}
TOLD = (
    "p%40ss-w0rd-of-the-database",
    "p@ss-w0rd-of-the-database",
    "the-debug-token-9f8e",
    'sink-token-with-"quotes"-and-\\',
    "pnu_1234567890",
    "https://hooks.example/services/T000/B000/webhook-secret",
)
OTHERS = (
    "Authorization: Bearer abc.def-ghi_123",
    "authorization=Basic dXNlcjpwYXNz",
    "{'X-Debug-Token': 'another-token-77'}",
    '{"leaseToken": "b64-of-32-random-bytes"}',
    "Idempotency-Key: order-66-key",
    "postgresql://someone:hunter2@db.example/models",
    "https://robot:s3cr3t@proxy.example:8080/x",
    "password=correct-horse&next=1",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----",
)
HIDDEN = (
    "abc.def-ghi_123",
    "dXNlcjpwYXNz",
    "another-token-77",
    "b64-of-32-random-bytes",
    "order-66-key",
    "hunter2",
    "s3cr3t",
    "correct-horse",
    "wJalrXUtnFEMI",
    "eyJzdWIiOiJhZGEifQ",
    "c2lnbmF0dXJl",
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49",
    "webhook-secret",
)


@pytest.fixture
def with_secrets(settings: Settings) -> Settings:
    return settings.model_copy(update=SECRETS)


@pytest.fixture
def lines(settings: Settings, capfd: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Let this process log as the service does; give the lines so far."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    uvicorn = logging.getLogger("uvicorn").level
    logs.configure(settings.model_copy(update=SECRETS | {"log_format": "json"}))
    yield lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = before[2:]
    logging.getLogger("uvicorn").setLevel(uvicorn)
    logging.captureWarnings(capture=False)


def test_a_request_is_one_line_with_who_asked_what_and_how_it_ended(settings: Settings, lines: Lines) -> None:
    with calling(open_to_debug(settings)) as api:
        lines()
        answer = api.get("/ai-infra/models/rain?limit=1", headers={"X-Request-Id": "call-1"})
    (line,) = [line for line in lines() if line["logger"] == "aiinfra.requests"]
    assert answer.headers["x-request-id"] == answer.json()["requestId"] == "call-1"
    told = {name: line[name] for name in ("level", "message", "method", "route", "path", "status", "requestId", "actor")}
    assert told == {
        "level": "INFO",
        "message": "GET /ai-infra/models/rain 404",
        "method": "GET",
        "route": "/ai-infra/models/{id}",
        "path": "/ai-infra/models/rain",
        "status": 404,
        "requestId": "call-1",
        "actor": "debug",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert 0 < line["durationMs"] < 10_000


def test_what_is_answered_before_a_route_is_reached_is_told_under_the_route_all_the_same(settings: Settings, lines: Lines) -> None:
    with calling(open_to_debug(settings, max_body_bytes=100)) as api:
        lines()
        api.get("/ai-infra/models/a-secret-name", headers={"X-Debug-Token": "wrong"})
        api.post("/ai-infra/train", content=b"{" + b" " * 200, headers={"Content-Type": "application/json"})
        api.post("/ai-infra/jobs/claim", content=b"model", headers={"Content-Type": "text/plain"})
        api.post("/docs/swagger", content=b"model", headers={"Content-Type": "text/plain"})
        api.get("/a-secret-path", headers={"X-Debug-Token": "wrong"})
    assert [(line["status"], line["route"]) for line in lines() if line["logger"] == "aiinfra.requests"] == [
        (401, "/ai-infra/models/{id}"),
        (413, "/ai-infra/train"),
        (415, "/ai-infra/jobs/claim"),
        (415, "/docs/{name}"),
        (401, "unmatched"),
    ]


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 201])
def test_a_request_id_that_does_not_fit_is_replaced_by_one_that_is_made(settings: Settings, given: str) -> None:
    with calling(open_to_debug(settings)) as api:
        made = [api.get("/livez", headers=[(b"x-request-id", given.encode())]).headers["x-request-id"] for _ in (1, 2)]
        none = api.get("/livez").headers.get_list("x-request-id")
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in made + none)
    assert (len(set(made)), len(none)) == (2, 1)


def test_probes_that_go_well_are_not_told_of(settings: Settings, lines: Lines) -> None:
    with calling(open_to_debug(settings)) as api:
        for path in ("/health", "/livez", "/readyz", "/metrics"):
            assert api.get(path).status_code == 200
    assert [line for line in lines() if line["logger"] == "aiinfra.requests"] == []


def test_what_is_logged_on_the_way_says_which_request_it_was(settings: Settings, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        logging.getLogger("aiinfra_core.somewhere").warning("a part complains")
        raise RuntimeError(f"it was {TOLD[2]} and Bearer {HIDDEN[0]}")

    monkeypatch.setattr("aiinfra_core.jobs.request_training", break_down)
    with calling(open_to_debug(settings)) as api:
        spec = {"codeRef": f"https://git.example.org/rain@{'a' * 40}", "containerDigest": f"sha256:{'c0' * 32}"}
        answer = api.post("/ai-infra/train", json=spec, headers={"X-Request-Id": "call-2"})
    assert (answer.status_code, answer.headers["x-request-id"], answer.json()["requestId"]) == (500, "call-2", "call-2")
    assert TOLD[2] not in answer.text
    found = {line["message"]: line for line in lines() if line.get("requestId") == "call-2"}
    assert set(found) == {"a part complains", "Something unexpected happened.", "POST /ai-infra/train 500"}
    assert {line["actor"] for line in found.values()} == {"debug"}
    told = found["Something unexpected happened."]["exc_info"]
    assert told.endswith("RuntimeError: it was [redacted] and [redacted]")
    assert told.count("Traceback") == 1


def _broken(error: Exception) -> None:
    raise error


def _everywhere(secret: str) -> None:
    logger = logging.getLogger(f"aiinfra.{secret}")
    logger.info("message %s", secret)
    logger.info(
        secret,
        extra={"field": secret, secret: 1, "nested": {"list": [secret, {"deep": (secret,)}], secret: 2}, "object": ValueError(secret)},
    )
    try:
        try:
            _broken(ValueError(secret))
        except ValueError as error:
            raise KeyError({"field": secret, "secret": secret}) from error
    except KeyError:
        logger.exception("it broke: %r", {"as": secret}, stack_info=True)


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("secret", [*TOLD, *OTHERS])
def test_no_secret_gets_into_any_field_of_any_line(
    settings: Settings, lines: Lines, capfd: pytest.CaptureFixture[str], secret: str, form: str
) -> None:
    logs.configure(settings.model_copy(update=SECRETS | {"log_format": form}))
    _everywhere(secret)
    written = capfd.readouterr().err
    assert written.count("\n") >= 3
    read = "\n".join(_texts([json.loads(line) for line in written.splitlines()])) if form == "json" else written
    for text in (written, read):
        assert [one for one in (*TOLD, *HIDDEN) if one in text] == []
    assert redaction.REDACTED in read


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def test_headers_and_addresses_of_a_request_are_not_in_its_line(with_secrets: Settings, settings: Settings, lines: Lines) -> None:
    with calling(open_to_debug(settings)) as api:
        lines()
        headers = {
            "Authorization": "Bearer abc.def-ghi_123",
            "Idempotency-Key": "order-66-key",
            "Cookie": "session=correct-horse",
            "X-Plain": "plain-header-word",
        }
        api.get("/ai-infra/models?token=hunter2&model=plain-query-word", headers=headers)
        api.get("/x/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl", headers={"X-Request-Id": "the-debug-token-9f8e"})
    written = json.dumps(lines())
    assert [one for one in (*HIDDEN, *TOLD, AS_DEBUG["X-Debug-Token"], "plain-header-word", "plain-query-word") if one in written] == []
    assert written.count("aiinfra.requests") == 2


def test_of_a_long_path_the_beginning_is_told_and_no_half_of_a_secret(settings: Settings, lines: Lines) -> None:
    fill = "x" * (2030 - len("/a/"))
    with calling(open_to_debug(settings)) as api:
        lines()
        for path in (f"/a/{fill}/{TOLD[2]}/{fill}", "/" + "y" * 3000, "/short/" + "z" * 2000):
            assert api.get(path).status_code == 404
    told = [line for line in lines() if line["logger"] == "aiinfra.requests"]
    assert [line["path"] for line in told] == [f"/a/{fill}/…", "/…", "/short/" + "z" * 2000]
    assert [line["message"] for line in told] == [f"GET {line['path']} 404" for line in told]


def test_ordinary_lines_stay_as_they_are(settings: Settings) -> None:
    redacted = redaction.redactor(settings)
    for text in (
        "The keyid ab12 is listed; take the basics and token of thanks",
        "postgresql://aiinfra@/aiinfra?host=/tmp/socket&port=5432",
        "GET /ai-infra/models/rain@prod 200",
        "https://git.example.org/weather/rainfall@3f1c9a0de5a7c2b1f0e9d8c7b6a5948372615040",
    ):
        assert redacted(text) == text


def test_at_a_terminal_lines_are_for_people(settings: Settings, lines: Lines, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(settings.model_copy(update={"log_format": "text"}))
    with calling(open_to_debug(settings)) as api:
        api.get("/ai-infra/models", headers={"X-Request-Id": "call-3"})
    assert re.search(r"^\d\d:\d\d:\d\d INFO    GET /ai-infra/models 200 [\d.]+ ms  debug call-3$", capfd.readouterr().err, re.MULTILINE)


def test_nobody_who_reads_the_log_is_no_reason_to_stop(settings: Settings, lines: Lines) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    kept = os.dup(2)
    try:
        os.dup2(writing, 2)
        logging.getLogger("aiinfra").info("nobody hears this")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writing)
