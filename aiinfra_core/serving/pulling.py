"""Taking what is current to this machine once, verified as `Serving` verifies it: the champion's bytes and the routing that names them."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiinfra_core.artifact_store import Location
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import BadInput, Conflict
from aiinfra_core.evidence.rollout_predicates import Routing
from aiinfra_core.evidence.routing import check
from aiinfra_core.serving import verified

ROUTING = "routing.json"
"""What the bundle that was checked is called beside the artifact."""


@dataclass(frozen=True)
class Pulled:
    """What was taken: where the artifact is, and the routing that names it."""

    path: Path
    routing: Routing


def pull(bundle: bytes, trust: Trust, *, environment: str, model: str, places: Sequence[Location], out: Path, now: datetime) -> Pulled:
    """Check a routing, fetch its champion and make a new directory of both, which appears whole or not at all.

    Raises:
        EvidenceBroken: the routing or a manifest does not verify; `place` names the step of `evidence.routing`.
        Conflict: the directory exists.
        DigestMismatch, ArtifactMissing, BadInput, Unavailable: the bytes are not what was promoted, or cannot be had.
    """
    routing = check(bundle, trust, environment=environment, model=model, now=now)
    name = routing.champion.artifact_uri.rstrip("/").rpartition("/")[2]
    if name == ROUTING:
        raise BadInput(f"The artifact is called {ROUTING} itself, which is what the routing would be called; store it under another name.")
    if os.path.lexists(out):
        raise Conflict(f"{out} exists already; name a directory that does not.")
    building = _beside(out)
    try:
        verified.fetch(routing.champion, places, building / name)
        (building / ROUTING).write_bytes(bundle)
        building.chmod(0o755)
        _publish(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Pulled(out / name, routing)


def _beside(out: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    except OSError as error:
        raise BadInput(f"Nothing can be written beside {out} ({error.strerror}); name a directory below one that exists.") from None


def _publish(building: Path, out: Path) -> None:
    try:
        building.rename(out)
    except OSError:
        raise Conflict(f"{out} exists already; name a directory that does not.") from None
