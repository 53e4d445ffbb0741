"""Hash-and-store to a local directory against the parts it is made of, and how much memory it takes.

Every figure is the median of interleaved runs. The plain copy and the store both end with an fsync of the file; the hash
reads the same file. Caches are as the runs before left them, the same for all three.
"""

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]

GIB = 2**30
ROUNDS = 5
MOST_ROUNDS = 25
QUIET_CORES = 0.3
# Not getrusage: its maximum starts with that of the process that started this one.
MEASURE_PEAK = """
import re, sys
from pathlib import Path
from aiinfra_core import artifact_store
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
idle = peak()
artifact_store.put(artifact_store.Location(sys.argv[1], None), Path(sys.argv[2]), "a")
print((peak() - idle) // 1024)
"""


@pytest.fixture
def random_file(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    def make(size: int) -> Path:
        path = tmp_path / f"source-{size}"
        with path.open("wb") as file:
            for _ in range(size // 2**24):
                file.write(os.urandom(2**24))
            os.fsync(file.fileno())
        return path

    yield make
    shutil.rmtree(tmp_path)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, of CPU in this process, and of CPU in all others."""

    wall: float
    cpu: float
    others: float


def plain_copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    target.unlink()


def plain_hash(source: Path) -> None:
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def store(source: Path, root: Path) -> None:
    from aiinfra_core import artifact_store

    artifact_store.put(artifact_store.Location(root.as_uri(), None), source, "a")
    shutil.rmtree(root)


def report(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        sys.stdout.write("\n".join(("", *lines, "")))


def busy_seconds() -> float:
    """Return the CPU seconds this machine has worked, all processes and the kernel together."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measured(work: Callable[[], object]) -> Cost:
    os.sync()
    started, cpu, busy = time.perf_counter(), time.process_time(), busy_seconds()
    work()
    spent = time.process_time() - cpu
    return Cost(time.perf_counter() - started, spent, busy_seconds() - busy - spent)


def quietest_rounds(runs: dict[str, Callable[[], object]]) -> list[dict[str, Cost]]:
    """Run all in turn until enough rounds had the machine for themselves; storing wants two cores, so others' work would count."""

    def disturbance(costs: dict[str, Cost]) -> float:
        return max(cost.others / cost.wall for cost in costs.values())

    rounds: list[dict[str, Cost]] = []
    while len(rounds) < MOST_ROUNDS and sum(disturbance(each) < QUIET_CORES for each in rounds) < ROUNDS:
        rounds.append({name: measured(work) for name, work in runs.items()})
    return sorted(rounds, key=disturbance)[:ROUNDS]


def test_storing_takes_hardly_longer_than_the_slower_of_hashing_and_copying(
    random_file: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = random_file(2 * GIB)
    runs: dict[str, Callable[[], object]] = {
        "hash": lambda: plain_hash(source),
        "copy": lambda: plain_copy(source, tmp_path / "copy"),
        "store": lambda: store(source, tmp_path / "store"),
    }
    plain_copy(source, tmp_path / "copy")  # the first file of a size pays for the memory of all
    rounds = quietest_rounds(runs)
    wall = {name: statistics.median(each[name].wall for each in rounds) for name in runs}
    others = max(cost.others / cost.wall for each in rounds for cost in each.values())
    cpu = {name: statistics.median(each[name].cpu for each in rounds) for name in runs}
    ratio = max(wall["hash"], wall["copy"]) / wall["store"]
    report(
        capsys,
        f"2 GiB, medians of the {ROUNDS} quietest interleaved rounds, others used up to {others:.2f} of {os.cpu_count()} cores:",
        *(f"  {name:5} {wall[name]:5.2f} s, {2 / wall[name]:5.2f} GiB/s, {cpu[name]:5.2f} s of CPU" for name in runs),
        f"  hash-and-store runs at {ratio:.2f} x the slower of hashing and copying (wanted: at least 0.80)",
    )
    if others >= QUIET_CORES and ratio < 0.8:
        pytest.skip("the machine was busy with other work, so this ratio says nothing; run it again on a quiet one")
    assert ratio >= 0.8


def test_storing_takes_the_same_little_memory_whatever_the_size(
    random_file: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {}
    for size in (GIB // 4, 2 * GIB):
        source = random_file(size)
        command = [sys.executable, "-c", MEASURE_PEAK, (tmp_path / f"store-{size}").as_uri(), str(source)]
        peaks[size] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        source.unlink()
    small, large = peaks.values()
    report(capsys, f"peak memory over the idle process: {small} MiB for 256 MiB, {large} MiB for 2 GiB (wanted: at most 100, and the same)")
    assert large <= 100
    assert abs(large - small) <= 8
