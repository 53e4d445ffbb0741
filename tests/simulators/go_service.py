"""The service that this one replaces, as far as it is read: its list, its detail and, if it is told to, its jobs, on a real socket.

It answers as Go's encoder writes: nothing is null and absent in the same way, times have nanoseconds, an empty list is null.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.simulators.scripted_server import Handler, Received, scripted_server

_BEGAN = datetime(2024, 3, 1, 9, tzinfo=UTC)


@dataclass
class GoService:
    """What it has recorded; the newest artifact is the last."""

    artifacts: list[dict[str, Any]] = field(default_factory=list)
    promotions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] | None = None
    token: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def trained(self, uri: str, data: bytes, **changes: Any) -> dict[str, Any]:
        """Add an artifact, as its runner registers one."""
        number = len(self.artifacts) + 1
        record = {
            "id": f"0c0ffee0-0000-4000-8000-{number:012}",
            "trainingJobId": f"00b00000-0000-4000-8000-{number:012}",
            "artifactUri": uri,
            "checksum": hashlib.sha256(data).hexdigest(),
            "metadata": {"epochs": number},
            "signerId": "ai-infra-dev",
            "signature": "c2lnbmF0dXJl",
            "createdAt": go_time(number),
        }
        record = {name: value for name, value in {**record, **changes}.items() if value is not ...}
        self.artifacts.append(record)
        return record

    def promoted(self, artifact: dict[str, Any], environment: str, status: str = "applied", **changes: Any) -> dict[str, Any]:
        """Add a promotion of an artifact."""
        these = self.promotions.setdefault(str(artifact["id"]), [])
        number = sum(map(len, self.promotions.values())) + 1
        record = {
            "id": f"0ddba110-0000-4000-8000-{number:012}",
            "artifactId": artifact["id"],
            "environment": environment,
            "status": status,
            "evaluation": {"quality": 0.92},
            "sentinelDecision": {"allowed": status == "applied", "policyId": "sentinel-allow", "reason": "quality above threshold"},
            "promotedBy": "ryan",
            "promotedAt": go_time(100 + number),
            "signature": "c2lnbmF0dXJl",
            "signerId": "ai-infra-dev",
            "createdAt": go_time(100 + number),
        }
        these.append({name: value for name, value in {**record, **changes}.items() if value is not ...})
        return these[-1]

    def told_of_job(self, job_id: str, **changes: Any) -> None:
        """Let it tell of a training job, as a later version of it may."""
        job = {"id": job_id, "codeRef": "github.com/illuvrse/forecast@main", "seed": "42", "status": "completed", "datasetRefs": None}
        self.jobs = (self.jobs or {}) | {job_id: {**job, **changes}}

    def answer(self, handler: Handler, received: Received) -> None:
        """Answer a request as the service does."""
        self.asked.append(received.path)
        if self.token is not None and received.headers.get("x-debug-token") != self.token:
            return handler.send(401, b'{"error":"unauthorized"}\n')
        place = urlsplit(received.path)
        parts = [unquote(part) for part in place.path.split("/")[1:]]
        match parts:
            case ["ai-infra", "models"]:
                query = {name: int(values[0]) for name, values in parse_qs(place.query).items()}
                start = query.get("offset", 0)
                body: Any = self.artifacts[::-1][start : start + query.get("limit", 50)] or None
            case ["ai-infra", "models", wanted]:
                body = self._detail(wanted)
            case ["ai-infra", "jobs", wanted] if self.jobs is not None:
                body = self.jobs.get(wanted)
            case _:
                body = None
        if body is None and parts != ["ai-infra", "models"]:
            return handler.send(404, b'{"error":"not found"}\n')
        return handler.send(200, json.dumps(body).encode() + b"\n")

    def _detail(self, wanted: str) -> dict[str, Any] | None:
        for artifact in self.artifacts:
            if str(artifact["id"]) == wanted:
                return {"artifact": artifact, "promotions": self.promotions.get(wanted, [])[::-1] or None}
        return None


def go_time(minutes: int) -> str:
    """Return a time as Go writes it."""
    return (_BEGAN + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


@contextmanager
def go_service() -> Iterator[GoService]:
    """Run the service on a free local port."""
    service = GoService()
    with scripted_server(service.answer) as server:
        service.url = server.url
        yield service
