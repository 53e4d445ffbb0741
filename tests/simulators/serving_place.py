"""A place where a model is served: artifacts in a store, a service that says where traffic goes, a clock that goes when it is told to."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiinfra_core.artifact_store import Location
from aiinfra_core.client import Client
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.domain.trust import Trust
from aiinfra_core.serving import Chosen, Serving
from tests.simulators import routings
from tests.simulators.routings import ENVIRONMENT, MODEL, Clock, Promoted, RoutingService, promoted, routed, stored
from tests.simulators.trust_files import trust_of, trusted

NO_POLLING = 3600.0
UNITS = [f"user-{number}" for number in range(400)]


@dataclass
class Place:
    """Version 1 is current at sequence 7, version 2 its challenger."""

    folder: Path
    store: Location
    client: Client
    service: RoutingService
    champion: Promoted
    challenger: Promoted
    clock: Clock = field(default_factory=Clock)
    trust: Trust | Path = field(default_factory=lambda: trust_of(trusted("ci")))

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def says(self, bundle: bytes) -> None:
        self.service.bundle = bundle

    def shares(self, **changes: Any) -> None:
        """Let the service say that traffic is shared with the challenger."""
        self.says(routed(self.champion, self.challenger, **changes))

    @contextmanager
    def serving(self, **changes: Any) -> Iterator[Serving]:
        """Give a process's serving that asks when it is told to."""
        given: dict[str, Any] = {"client": self.client, "trust": self.trust, "places": [self.store], "cache": self.cache}
        with Serving(MODEL, ENVIRONMENT, **(given | {"clock": self.clock, "poll_seconds": NO_POLLING} | changes)) as one:
            yield one

    def path_of(self, one: Promoted) -> Path:
        """Return where the store has its bytes."""
        return Path(one.artifact.artifact_uri.removeprefix("file://"))

    def change_bytes(self, one: Promoted, content: str = "other weights") -> None:
        path = self.path_of(one)
        path.chmod(0o644)
        path.write_text(content)


@contextmanager
def place_in(folder: Path) -> Iterator[Place]:
    """Give a place; its service says that the champion has all traffic."""
    store, service = Location((folder / "store").as_uri(), None), RoutingService()
    champion = promoted(stored(store, folder / "made", "one", 1), 7)
    challenger = promoted(stored(store, folder / "made", "two", 2), 8, champion)
    service.bundle = routed(champion)
    with routings.serving(service) as client:
        yield Place(folder, store, client, service, champion, challenger)


def arms(serving: Serving) -> dict[str, Arm]:
    """Return which arm answers each unit."""
    return {unit: serving.peek(unit).arm for unit in UNITS}


def everybody(serving: Serving) -> list[Chosen]:
    """Choose for each unit; see that the path holds that arm's very bytes."""
    chosen = [serving.choose(unit) for unit in UNITS]
    for path, arm in {(one.path, one.arm) for one in chosen}:
        assert path.read_text() == {Arm.CHAMPION: "one", Arm.CHALLENGER: "two"}[arm]
    return chosen


def until(is_so: Callable[[], bool]) -> bool:
    """Wait for ten seconds at most until something is so; return whether it is."""
    deadline = time.monotonic() + 10
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()
