"""Measure `audit verify` of a long log beside raw Ed25519 verification, in processes as a user has them; started by test_audit_verify.

The first argument is the length of the log.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core import verifying
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checking.check import Way
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests.benchmarks.registry_figures import durable, postgres_cpu
from tests.simulators.long_log import fill

TARGET = 0.7
NEW_EVENTS = 1000
CORES = len(os.sched_getaffinity(0))
_RAW = """
import sys, time
from aiinfra_core.signing import local
signer = local.from_base64(local.generate())
signed = [(message, signer.sign(message)) for message in (number.to_bytes(32) for number in range(1000))]
verify, number, began, cpu = signer.public_key.verify, 0, time.perf_counter(), time.process_time()
while time.perf_counter() - began < float(sys.argv[1]):
    for message, signature in signed:
        verify(message, signature)
    number += len(signed)
print(number / (time.perf_counter() - began), (time.process_time() - cpu) / number)
"""


@dataclass(frozen=True)
class Raw:
    """How many signatures all cores verify in a second, a process on each, and how many seconds of CPU one takes."""

    per_second: float
    cpu: float


def raw(seconds: float = 5.0) -> Raw:
    """Measure signature verification alone."""
    line = [sys.executable, "-c", _RAW, str(seconds)]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(CORES)]
    told = [list(map(float, process.communicate()[0].split())) for process in started]
    return Raw(sum(rate for rate, _ in told), sum(cpu for _, cpu in told) / CORES)


def _cpu(settings: Settings) -> float:
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system + postgres_cpu(settings)


class Memory:
    """The most memory this process and each of its workers had, in MB; asked for while they work."""

    def __init__(self) -> None:
        self.most: dict[str, float] = {}
        self._asked = 0.0

    def __call__(self, _what: str, _done: int, _of: int) -> None:
        if time.monotonic() - self._asked > 0.5:
            self._asked = time.monotonic()
            self._look("parent", Path("/proc/self/status"))
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                self._look("worker", Path(f"/proc/{child}/status"))

    def _look(self, name: str, status: Path) -> None:
        try:
            high = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return
        self.most[name] = max(self.most.get(name, 0.0), int(high.split()[1]) / 1024)


def measure(settings: Settings, events: int) -> None:
    """Print the figures."""
    signer, state = audit_signer(settings), settings.home / "verified.sqlite"
    fill(settings, events, signer)
    checkpoints.checkpoint(settings, signer)
    memory, before = Memory(), raw()
    began, cpu = time.perf_counter(), _cpu(settings)
    history = verifying.verify_history(settings, Way(state=state, progress=memory))
    seconds, cpu = time.perf_counter() - began, (_cpu(settings) - cpu) / events
    after = raw()
    rate, one = (before.per_second + after.per_second) / 2, (before.cpu + after.cpu) / 2
    assert (history.events, history.broken) == (events, 0)
    print(f"\naudit verify of {events} events: {seconds:.1f} s, {events / seconds:,.0f}/s")  # noqa: T201
    print(f"raw Ed25519 on {CORES} cores: {rate:,.0f}/s; ratio {events / seconds / rate:.2f} (at least {TARGET})")  # noqa: T201
    print(f"CPU of an event {cpu * 1e6:.0f} µs, of a raw verification {one * 1e6:.0f} µs; ratio {one / cpu:.2f}")  # noqa: T201
    print("most memory: " + ", ".join(f"{name} {most:.0f} MB" for name, most in memory.most.items()))  # noqa: T201
    print(f"kept state: {state.stat().st_size / 2**20:.0f} MB")  # noqa: T201
    fill(settings, NEW_EVENTS, signer)
    checkpoints.checkpoint(settings, signer)
    began = time.perf_counter()
    history = verifying.verify_history(settings, Way(state=state, incremental=True))
    seconds = time.perf_counter() - began
    assert (history.since, history.events, history.broken) == (events + 1, events + NEW_EVENTS, 0)
    print(f"incremental, {NEW_EVENTS} new events after {events}: {seconds:.2f} s (at most 2)")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings, int(sys.argv[1]))
