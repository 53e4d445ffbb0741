"""Signed routings of a test's own: artifacts in a folder, manifests and routings by whichever key, and a service that hands them out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import Location
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.client import Client
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.evidence import dsse, rollouts, statements
from aiinfra_core.evidence.claims import subject_of
from aiinfra_core.evidence.rollouts import Split
from aiinfra_core.evidence.routing import bundle
from tests.simulators.scripted_server import Handler, Received, resets, scripted_server
from tests.simulators.trust_files import NOW, signer

MODEL, ENVIRONMENT, SALT = "rain", "prod", "a-salt-of-tests"
ROLLOUT = UUID("7b0f3a52-3c1e-4a5e-9d8e-0a1b2c3d4e5f")
MINUTES = timedelta(minutes=1)


@dataclass(frozen=True)
class Promoted:
    """An artifact and the signed manifest that promotes it."""

    artifact: Artifact
    digest: str
    envelope: bytes
    sequence: int


def stored(place: Location, folder: Path, content: str, version: int) -> Artifact:
    """Put some bytes into a store and return them as a registered version."""
    folder.mkdir(exist_ok=True)
    source = folder / f"{content}.bin"
    source.write_text(content)
    kept = artifact_store.put(place, source, f"uploads/{content}/model.bin")
    return registered(kept.uri, kept.checksum, version)


def registered(uri: str, checksum: str, version: int, kind: str = "sha256") -> Artifact:
    return Artifact.model_validate(
        {
            "id": uuid4(),
            "model": MODEL,
            "version": version,
            "training_job_id": None,
            "artifact_uri": uri,
            "digest_kind": kind,
            "checksum": checksum,
            "size_bytes": 3,
            "metadata": {},
            "manifest_signature_id": None,
            "signer_id": "ci",
            "signature": "s",
            "attestation": "ab" * 32,
            "registered_by": "rita",
            "created_at": NOW,
        }
    )


def promoted(artifact: Artifact, sequence: int, follows: Promoted | None = None, *, by: str = "ci", **changes: Any) -> Promoted:
    """Sign a manifest; one that follows another asks for a rollout."""
    given: dict[str, Any] = {
        "promotion_id": uuid4(),
        "model": artifact.model,
        "version": artifact.version,
        "environment": ENVIRONMENT,
        "subject": subject_of(artifact),
        "sequence": sequence,
        "follows": follows.digest if follows else None,
        "requested_by": "paul",
        "policy_uri": "urn:ai-infra:policy:local:default",
        "policy_digest": None,
        "input_attestations": ["ab" * 32],
        "verified_at": NOW - timedelta(days=30),
        "rollout_digest": "cd" * 32 if follows else None,
    }
    payload = statements.promotion(**(given | changes))
    return Promoted(artifact, sha256_hex(payload), dsse.sign(payload, signer(by)), sequence)


def routed(champion: Promoted, challenger: Promoted | None = None, *, by: str = "ci", weight: int = 5000, **changes: Any) -> bytes:
    """Sign a routing and bundle it with its manifests."""
    split = Split(ROLLOUT, changes.pop("step", 0), weight, changes.pop("salt", SALT), changes.pop("unit", Unit.REQUEST))
    given: dict[str, Any] = {
        "environment": ENVIRONMENT,
        "sequence": champion.sequence,
        "changes": 1 if challenger else 0,
        "champion": (champion.artifact, champion.digest),
        "challenger": (challenger.artifact, challenger.digest) if challenger else None,
        "split": split if challenger else None,
        "issued_at": NOW - MINUTES,
        "expires_at": NOW + 4 * MINUTES,
    }
    payload = rollouts.routing(**(given | changes))
    return bundle(dsse.sign(payload, signer(by)), {one.digest: one.envelope for one in (champion, challenger) if one})


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, time: timedelta) -> None:
        self.now += time


@dataclass
class RoutingService:
    """A service that hands out one bundle and takes outcomes, each batch once; it can be down, or lose its answers."""

    bundle: bytes = b""
    down: bool = False
    loses_answers: int = 0
    url: str = ""
    asked: int = 0
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)

    def outcomes(self, arm: str, kind: str = "units") -> int:
        return sum(one[kind] for body in self.taken.values() for one in body["counts"] if one["arm"] == arm)

    def answer(self, handler: Handler, received: Received) -> None:
        if self.down:
            return handler.send(500, b'{"error": "It is down.", "code": "unavailable"}')
        if received.path.endswith("/observations"):
            return self._take(handler, received)
        self.asked += 1
        tag = f'"{sha256_hex(self.bundle)[:32]}"'
        if received.headers.get("if-none-match") == tag:
            return handler.send(304, b"", ETag=tag)
        return handler.send(200, self.bundle, ETag=tag)

    def _take(self, handler: Handler, received: Received) -> None:
        body = received.json
        body = {"counts": [], "users": [], **body}  # what is not said is none
        counted = self.taken.setdefault(body["batch"], body) is body
        if self.loses_answers:
            self.loses_answers -= 1
            return resets(handler, received)
        return handler.send(200, json.dumps({"batch": body["batch"], "counted": counted}).encode())


@contextmanager
def serving(service: RoutingService) -> Iterator[Client]:
    """Give a client of the service that is patient for a moment."""
    with scripted_server(service.answer) as server:
        service.url = server.url
        with Client(server.url, timeout=5, deadline=1.0) as client:
            yield client
