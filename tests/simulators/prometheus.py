"""Prometheus with samples of a test's own: the real server where it is installed, else as much of its API as we ask, over a real socket.

The tests of signals run on both; the real one is for the slow suite (Debian: `apt-get install prometheus`).
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, scripted_server

_EXPRESSION = re.compile(r"(?P<last>last_over_time\()?(?P<name>\w+)\{(?P<labels>[^}]*)\}\[(?P<range>\d+)(?P<unit>[sd])\]\)?")
_MATCHER = re.compile(r'(\w+)(=~?)"([^"]*)"')
_SECONDS = {"s": 1, "d": 86400}


@dataclass(frozen=True)
class Scraped:
    """A series: its name, its labels, and (when, how much) of each scrape."""

    name: str
    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    def metric(self) -> dict[str, str]:
        return {"__name__": self.name, **self.labels}


def installed() -> bool:
    return bool(shutil.which("prometheus") and shutil.which("promtool"))


@contextmanager
def simulated(series: Sequence[Scraped]) -> Iterator[str]:
    """Give the address of a server that answers as Prometheus does."""
    with scripted_server(answering(series)) as server:
        yield server.url


def answering(series: Sequence[Scraped]) -> Behaviour:
    """Answer instant queries of a range of these series, and of the last value in one."""

    def answer(handler: Handler, received: Received) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(received.path).query).items()}
        found = _EXPRESSION.fullmatch(asked["query"])
        if found is None or not re.fullmatch(r"\d+ms", asked["timeout"]):
            refuses("parse error: unexpected character")(handler, received)
            return
        until = float(asked["time"])
        since = until - int(found["range"]) * _SECONDS[found["unit"]]
        seen = [(one, [sample for sample in one.samples if since <= sample[0] <= until]) for one in series if _fits(one, found)]
        kept = [(one, samples) for one, samples in seen if samples]
        answers(200, vector(kept, until) if found["last"] else matrix(kept))(handler, received)

    return answer


def refuses(error: str) -> Behaviour:
    return answers(400, {"status": "error", "errorType": "bad_data", "error": error})


def matrix(kept: Sequence[tuple[Scraped, Sequence[tuple[float, float]]]]) -> dict[str, Any]:
    result = [{"metric": one.metric(), "values": [[when, repr(float(value))] for when, value in samples]} for one, samples in kept]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def vector(kept: Sequence[tuple[Scraped, Sequence[tuple[float, float]]]], until: float) -> dict[str, Any]:
    result = [{"metric": one.metric(), "value": [until, repr(float(samples[-1][1]))]} for one, samples in kept]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def _fits(one: Scraped, found: re.Match[str]) -> bool:
    def matches(name: str, how: str, value: str) -> bool:
        held = one.labels.get(name, "")
        return re.fullmatch(value, held) is not None if how == "=~" else held == value

    return one.name == found["name"] and all(matches(*matcher) for matcher in _MATCHER.findall(found["labels"]))


@contextmanager
def real(series: Sequence[Scraped], folder: Path) -> Iterator[str]:
    """Give the address of a Prometheus that has scraped this."""
    folder.mkdir()
    _backfill(series, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    (folder / "prometheus.yml").write_text("{}")
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={url.removeprefix('http://')}"]
    with subprocess.Popen(["prometheus", *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(process, f"{url}/-/ready")
            yield url
        finally:
            process.kill()


def _backfill(series: Sequence[Scraped], folder: Path) -> None:
    lines = [f"{one.name}{_labels(one)} {value} {when:.3f}" for one in series for when, value in one.samples]
    (folder / "scraped").write_text("\n".join([*lines, "# EOF", ""]))
    if lines:
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", "scraped", "data"], cwd=folder, check=True, capture_output=True
        )


def _labels(one: Scraped) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in one.labels.items()) + "}"


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "Prometheus ended"
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("Prometheus did not start")
