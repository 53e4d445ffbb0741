"""A rollout on real requests, told in plain lines: `make demo-canary`. A healthy challenger earns all traffic, a worse one goes back.

The service, the process that serves the model and its clients are real and talk over sockets; labels are the weather of the next day. Told
again, it begins with what is current by then, and its challengers are the next versions.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from aiinfra_core import checksums
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.settings import Settings
from examples.rainfall.telling import HERE, aiinfra, committed_example, expect, heading, say

MODEL, ENVIRONMENT = "rainfall-live", "prod"
LOCK = HERE.parents[1] / "requirements" / "dev.txt"
CLIENTS = 4
SPEC = {
    "weights": [10, 50, 100],
    "bakeMinutes": 0.05,
    "lookSeconds": 1,
    "deadlineHours": 0.1,
    "silentMinutes": 2,
    "signals": [
        {"name": "quality", "kind": "quality", "alpha": 0.004},
        {"name": "errors", "kind": "errors", "alpha": 0.003, "advances": False},
    ],
}


def main() -> None:
    began = time.monotonic()
    heading("AI & Infrastructure: a challenger earns its traffic, and another loses it")
    settings = prepared()
    plots = settings.home / "demo"
    current = ensure_champion(settings)
    with service(settings) as address, served(settings, address) as port, clients(port) as traffic:
        say(f"{MODEL}:{current} is current in {ENVIRONMENT}, served at http://127.0.0.1:{port}, about {traffic.rate():.0f} requests/s")

        heading("1. A healthy challenger: 10 %, 50 %, all traffic, each step on evidence")
        healthy = trained(settings)
        rollout = rolled_out(healthy)
        expect(rollout["status"] == "completed", f"the healthy challenger was {rollout['status']}: {rollout['reason']}")
        tell(rollout, plots / "healthy.svg")

        heading("2. The next one has a regression: every second answer is turned round")
        worse = trained(settings)
        ask(port, "/regress", {"version": worse})
        rollout = rolled_out(worse)
        expect(rollout["status"] == "rolled_back", f"the regression was {rollout['status']}: {rollout['reason']}")
        tell(rollout, plots / "regression.svg")
        wait_until(lambda: traffic.last_versions() == {healthy}, "traffic did not go back")
        say(f"{MODEL}:{healthy} has all traffic again")

        heading("3. Somebody promotes the same bytes again")
        refused = json.loads(
            aiinfra("promote", f"{MODEL}:{worse}", "--to", ENVIRONMENT, "--request-id", secrets.token_hex(8), "--json", code=3)
        )
        say(f"{refused['status']}: {refused['reason']}")

    heading("4. All of it, checked again: every verdict from its counts")
    say(aiinfra("verify", f"{MODEL}@{ENVIRONMENT}").strip().splitlines()[-1])
    heading(f"Done in {time.monotonic() - began:.0f} s")
    say(f"The evidence as plots: {plots / 'healthy.svg'} and {plots / 'regression.svg'}")
    say(f"Next: .venv/bin/aiinfra rollout show {MODEL}@{ENVIRONMENT} --page rollout.html")


def prepared() -> Settings:
    """Return settings with a trust root, which whoever serves pins."""
    settings = current_settings()
    if settings.trust_root is None:
        aiinfra("trust", "init")
        settings = current_settings()
    (settings.home / "demo").mkdir(parents=True, exist_ok=True)
    return settings


def trained(settings: Settings, seed: int | None = None) -> int:
    """Train and register the next version and return its number; each has another seed, so other bytes."""
    data = HERE / "rainfall.parquet"
    known = json.loads(aiinfra("models", "list", MODEL, "--json"))
    seed = max((one["version"] for one in known), default=0) + 1
    code = committed_example(settings.home / "demo" / "rainfall")
    spec = {
        "model": MODEL,
        "codeRef": code,
        "containerDigest": f"sha256:{checksums.sha256_hex(LOCK.read_bytes())}",
        "entryPoint": "train.py",
        "hyperparams": {"n_estimators": 120},
        "datasetRefs": [{"name": "rainfall", "uri": "rainfall.parquet", "sha256": checksums.sha256_hex(data.read_bytes())}],
        "seed": seed,
    }
    file = settings.home / "demo" / "training.json"
    file.write_text(json.dumps(spec))
    job = json.loads(aiinfra("train", "--spec", str(file), "--json"))
    artifact = json.loads(aiinfra("register", job["id"], "--json"))
    say(f"trained     {MODEL}:{artifact['version']}, ROC AUC {job['metrics']['quality']:.4f}, sha256:{artifact['checksum'][:16]}...")
    return int(artifact["version"])


def ensure_champion(settings: Settings) -> int:
    """Return the version that is current; the first is promoted at once, as there is nothing to compare it with."""
    status = json.loads(aiinfra("status", "--json"))
    standing = [one for one in status["current"] if (one["model"], one["environment"]) == (MODEL, ENVIRONMENT)]
    if standing:
        return int(standing[0]["version"])
    version = trained(settings)
    aiinfra("promote", f"{MODEL}:{version}", "--to", ENVIRONMENT)
    return version


def rolled_out(version: int) -> dict[str, Any]:
    """Promote a version by the spec, follow its rollout look by look, and return how it ended."""
    file = current_settings().home / "demo" / "rollout.json"
    file.write_text(json.dumps(SPEC))
    promotion = json.loads(aiinfra("promote", f"{MODEL}:{version}", "--to", ENVIRONMENT, "--rollout", str(file), "--json"))
    expect(promotion["status"] == "rolling_out", f"the promotion was {promotion['status']}: {promotion['reason']}")
    return followed()


def followed() -> dict[str, Any]:
    """Tell the looks of the rollout that is open as they come, and return it when it has ended."""
    told, until = 0, time.monotonic() + 120
    while True:
        found = json.loads(aiinfra("rollout", "show", f"{MODEL}@{ENVIRONMENT}", "--json"))
        for look in (one for one in found["looks"] if one["number"] > told and (one["verdict"] != "hold" or one["number"] % 4 == 0)):
            say(f"{look['weight'] / 100:>4.0f} %  {look['verdict']:<9} {look['reason']}")
            told = look["number"]
        if found["rollout"]["endedAt"]:
            return dict(found["rollout"])
        expect(time.monotonic() < until, "the rollout did not end in two minutes")
        time.sleep(2)


def tell(rollout: dict[str, Any], plot: Path) -> None:
    """Say how a rollout ended and write its plot."""
    aiinfra("rollout", "show", rollout["id"], "--plot", str(plot))
    say(f"{rollout['status']}: {rollout['reason']}")
    say(f"log e against its limit, counts and weights: {plot}")


class Traffic:
    """Clients that ask for forecasts as fast as they are answered, and know what the weather was."""

    def __init__(self, port: int) -> None:
        table = pq.read_table(HERE / "held_out.parquet")
        names = [name for name in table.column_names if name != "rain"]
        rows = zip(*(table[name].to_pylist() for name in names), strict=True)
        self._days = [(list(row), rain) for row, rain in zip(rows, table["rain"].to_pylist(), strict=True)]
        self._port, self._ended, self._last = port, threading.Event(), [0] * 200
        self._asked, self._begun = 0, time.monotonic()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(CLIENTS)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self._asked > 500, "nothing is served")

    def stop(self) -> None:
        """End all clients."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def rate(self) -> float:
        """Return how many requests a second were answered."""
        return self._asked / (time.monotonic() - self._begun)

    def last_versions(self) -> set[int]:
        """Return the versions that answered the last requests."""
        return set(self._last)

    def _run(self, number: int) -> None:
        connection, at = HTTPConnection("127.0.0.1", self._port), number
        while not self._ended.is_set():
            measurements, rain = self._days[at % len(self._days)]
            answer = posted(connection, "/predict", {"request": f"{number}-{at}", "measurements": measurements, "rain": rain})
            self._last[at % len(self._last)] = answer["version"]
            self._asked += 1
            at += CLIENTS
            time.sleep(0.02)  # the same two cores train the next version


def posted(connection: HTTPConnection, path: str, body: dict[str, Any]) -> Any:
    """Return the answer to a request on a connection that stays open."""
    connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def ask(port: int, path: str, body: dict[str, Any]) -> Any:
    """Return the answer to a single request."""
    return posted(HTTPConnection("127.0.0.1", port), path, body)


@contextmanager
def clients(port: int) -> Iterator[Traffic]:
    """Send requests while the block runs."""
    traffic = Traffic(port)
    traffic.start()
    try:
        yield traffic
    finally:
        traffic.stop()


@contextmanager
def service(settings: Settings) -> Iterator[str]:
    """Run the service while the block runs, for whoever knows a token made up for it."""
    os.environ |= {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": secrets.token_hex(16)}
    address = f"127.0.0.1:{free_port()}"
    command = [str(Path(sys.executable).with_name("aiinfra")), "serve", "--addr", address]
    with running(command, settings.home / "demo" / "service.log"):
        wait_until(lambda: is_ready(f"http://{address}/readyz"), "the service did not start")
        yield f"http://{address}"


@contextmanager
def served(settings: Settings, address: str) -> Iterator[int]:
    """Serve the model while the block runs, and return the port."""
    port = free_port()
    roots = {"AI_INFRA_TRUST_ROOT": str(settings.trust_root), "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root)}
    command = [sys.executable, str(HERE / "serve.py"), "--model", MODEL, "--environment", ENVIRONMENT, "--port", str(port)]
    with running(command, settings.home / "demo" / "serving.log", roots | {"AI_INFRA_SERVER": address}):
        wait_until(lambda: can_connect(port), "the model is not served")
        yield port


@contextmanager
def running(command: list[str], log: Path, more: dict[str, str] | None = None) -> Iterator[None]:
    """Run a process while the block runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | (more or {}), stdout=output, stderr=output)  # noqa: S603
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until(holds: Any, otherwise: str, seconds: float = 60) -> None:
    """Wait for something to hold; if it does not in time, end the demo."""
    until = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < until, otherwise)
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Say whether the service answers that all its parts are there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a local address
            return bool(answer.status == 200)
    except OSError:
        return False


def can_connect(port: int) -> bool:
    """Say whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
