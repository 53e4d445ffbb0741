"""Verifying an export: hashing the model against `hashlib` on every core, and what the command costs before it looks at anything.

Files are in the page cache; every figure is the median of interleaved runs. The baseline is what one would write by hand:
`hashlib.file_digest` over the same files in as many threads as there are cores.
"""

import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.bundle import Bundle
from tests.simulators import exports
from tests.simulators.exports import Known

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]
known = exports.known
MIB = 2**20
ROUNDS = 7


@pytest.fixture(params=[(1000, MIB), (40, 32 * MIB), (10_000, 32 * 1024)], ids=["1,000 of 1 MiB", "40 of 32 MiB", "10,000 of 32 KiB"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bundle]:
    count, size = request.param
    folder = tmp_path / bundle.MODEL
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}").write_bytes(os.urandom(size))
    yield Bundle(tmp_path, {}, tuple(sorted(path.name for path in folder.iterdir())), {})
    shutil.rmtree(tmp_path)


def _by_hand(model: Bundle) -> dict[str, str]:
    def digest(name: str) -> str:
        with (model.folder / bundle.MODEL / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(model.model, pool.map(digest, model.model), strict=True))


def _seconds(call: Callable[[Bundle], dict[str, str]], model: Bundle) -> float:
    begun = time.perf_counter()
    assert len(call(model)) == len(model.model)
    return time.perf_counter() - begun


def test_hashing_a_model_of_many_files(model: Bundle, request: pytest.FixtureRequest) -> None:
    assert bundle.hash_model(model) == _by_hand(model)
    pairs = [(_seconds(_by_hand, model), _seconds(bundle.hash_model, model)) for _ in range(ROUNDS)]
    hand, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    size = sum((model.folder / bundle.MODEL / name).stat().st_size for name in model.model)
    print(f"\n{request.node.callspec.id}: {size / ours / 1e9:.2f} GB/s, {hand / ours:.2f} x hashlib over all cores")  # noqa: T201
    assert hand / ours >= 0.9


def test_the_cpu_that_verifying_a_small_export_takes(known: Known) -> None:
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "verify", str(known.export), "--trust-root", str(known.pinned)]
    spent = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"\nverifying a small export, all in all: {statistics.median(spent):.2f} s of CPU")  # noqa: T201
    assert statistics.median(spent) <= 0.5
