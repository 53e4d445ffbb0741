"""A client of a service whose answers are scripted, and what such a service says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from aiinfra_core.client import Client
from aiinfra_core.wire.asking import AskedTraining
from tests.factories import CONTAINER
from tests.simulators import scripted_server
from tests.simulators.scripted_server import Behaviour, Received, answers

SECRET = "hunter2-hunter2"  # noqa: S105 - it is one of the test's own
JOB: dict[str, Any] = {
    "id": "6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11",
    "model": "rain",
    "codeRef": f"https://code.example/rain@{'0' * 40}",
    "containerDigest": CONTAINER,
    "entryPoint": None,
    "hyperparams": {},
    "datasetRefs": [],
    "seed": 7,
    "status": "queued",
    "requestedBy": "ada",
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z",
    **dict.fromkeys(("startedAt", "finishedAt", "exitCode", "error", "artifactUri", "checksum", "metrics", "attestation", "logUri")),
    **dict.fromkeys(("digestKind", "sizeBytes", "trainingRecordSha256", "trainingRecordUri")),
    **dict.fromkeys(("holder", "leaseExpiresAt", "flowRunId", "flowRunUrl")),
    "attempts": 0,
    "requestId": "mine",
    "somethingNewer": 1,
}
ARTIFACT = UUID("0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e21")
PROMOTION: dict[str, Any] = {
    "id": "0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e22",
    "artifactId": str(ARTIFACT),
    "environment": "prod",
    "status": "rejected",
    "evaluation": {"quality": 0.9},
    "promotedBy": "ada",
    "model": "rain",
    "evaluationKind": "claimed",
    "reason": "unavailable:sentinelnet",
    "sequence": 1,
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z",
    "requestId": "mine",
    **dict.fromkeys(("sentinelDecision", "promotedAt", "signature", "signerId", "manifest", "follows")),
}
SPEC = AskedTraining(code_ref=str(JOB["codeRef"]), container_digest=CONTAINER, seed=7)
DONE = answers(201, JOB)


def tells(status: int, code: str, **more: Any) -> Behaviour:
    """Tell a problem as the service does."""
    headers = {"Retry_After": str(more.pop("retry_after"))} if "retry_after" in more else {}
    problem = {"type": "about:blank", "title": "It", "status": status, "detail": "It is so.", "error": "It is so.", "code": code, **more}
    return answers(status, problem, **{"Content-Type": "application/problem+json"}, **headers)


def client(url: str, **more: Any) -> Client:
    given: dict[str, Any] = {"token": SECRET, "timeout": 10.0, "deadline": 20.0}
    return Client(url, **given | more)


@contextmanager
def asked(*script: Behaviour, **more: Any) -> Iterator[tuple[Client, list[Received]]]:
    """Give a client of a scripted server, and what it was asked."""
    with scripted_server.scripted_server(*script) as server, client(server.url, **more) as service:
        yield service, server.requests
