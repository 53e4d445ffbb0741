"""What makes a training give other bytes is planted in its code, caught when it is run again, and named."""

from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import reproducing
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.reproduction import Outcome, ReproductionRequest
from aiinfra_core.settings import Settings
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]

ORDER_OF_A_CHILD = """
import subprocess
child = [sys.executable, '-I', '-c', 'print(set(map(str, range(60))))']
put(text=subprocess.run(child, stdout=subprocess.PIPE, text=True).stdout)
"""
ORDER_OF_THREADS = """
from concurrent.futures import ThreadPoolExecutor, as_completed
rows = os.urandom(8)
def one(number):
    time.sleep(rows[number] / 2000)
    return number
with ThreadPoolExecutor(8) as pool:
    put(text=json.dumps([done.result() for done in as_completed([pool.submit(one, number) for number in range(8)])]))
"""
SUMS = """
from multiprocessing.pool import ThreadPool
parts = os.urandom(1)[0] + 1
put('model.json', json.dumps({'bias': 0.1 + parts * 1e-12, 'weights': [1.5, 2.5]}))
"""


def causes(settings: Settings, artifact: Artifact) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Reproduce an artifact that comes out different; return the report, and its causes by their kinds."""
    request = ReproductionRequest(artifact=str(artifact.id), reproduced_by="rosa")
    made = reproducing.reproduce(settings, request, on_output=print)
    assert made.outcome is Outcome.DIFFERENT
    return made.report, {cause["kind"]: cause for cause in made.report["causes"]}


def test_a_wall_clock_in_the_model_is_caught_and_the_line_that_put_it_there_named(settings: Settings, trained: Trained) -> None:
    report, found = causes(settings, trained("put(text=json.dumps({'weights': [1, 2], 'trained': time.time()}))"))
    assert set(found) == {"time"}
    assert found["time"]["certainty"] == "seen"
    assert found["time"]["code"][0].startswith("train.py:")
    assert "time.time()" in found["time"]["code"][0]
    assert report["repeats"] is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("import struct\n(output / 'model.bin').write_bytes(b'weights' + struct.pack('<d', time.time()))", "time.time()"),
        ("import datetime as d\nput(text=f'weights\\ntrained {d.datetime.now(d.UTC)}')", "d.datetime.now"),
    ],
    ids=["binary", "text"],
)
def test_a_time_is_caught_however_it_is_written(settings: Settings, trained: Trained, script: str, line: str) -> None:
    _, found = causes(settings, trained(script))
    assert set(found) == {"time"}
    assert line in str(found["time"]["code"])


def test_chance_without_a_seed_is_named_and_chance_with_one_is_not(settings: Settings, trained: Trained) -> None:
    script = "import random\nseeded = random.Random(inputs['seed']).random()\nput(text=f'{seeded} {os.urandom(4).hex()}')"
    _, found = causes(settings, trained(script))
    assert set(found) == {"randomness"}
    (line,) = found["randomness"]["code"]
    assert "os.urandom" in line


def test_the_order_of_a_set_in_a_child_without_the_hash_seed_is_named(settings: Settings, trained: Trained) -> None:
    _, found = causes(settings, trained(ORDER_OF_A_CHILD))
    assert set(found) == {"hash_seed"}
    assert "PYTHONHASHSEED" in str(found)
    assert "subprocess.run" in str(found)


def test_the_order_in_which_threads_end_is_named(settings: Settings, trained: Trained) -> None:
    _, found = causes(settings, trained(ORDER_OF_THREADS))
    assert found["threads"]["certainty"] == "seen"
    assert "ThreadPoolExecutor" in str(found["threads"]["code"])


@pytest.mark.slow
def test_sums_in_another_order_are_told_from_other_numbers(settings: Settings, trained: Trained) -> None:
    report, found = causes(settings, trained(SUMS))
    assert found["threads"]["certainty"] == "seen"
    assert "differs in 1 numbers" in found["threads"]["says"]
    assert [line.partition(":")[0] for line in report["files"]["different"][0]["shown"]] == ["bias"]


def test_an_extra_file_is_named_and_the_file_that_was_registered_is_found_beside_it(settings: Settings, trained: Trained) -> None:
    artifact = trained("once = Path(OUTSIDE, 'ran')\nput()\nif once.exists(): put('extra.log', 'second time')\nonce.touch()")
    report, found = causes(settings, artifact)
    (file,) = report["files"]["different"]
    assert (file["name"], file["kind"], file["registered"]) == ("extra.log", "extra", None)
    assert (report["reproduced"]["digestKind"], report["repeats"]) == ("dirHash", True)
    assert set(found) == {"unknown"}


@pytest.mark.slow
def test_missing_and_changed_files_of_a_directory_are_told_file_by_file(settings: Settings, trained: Trained) -> None:
    script = "n = len(list(Path(OUTSIDE).iterdir())); Path(OUTSIDE, str(n)).touch()\nput('a', 'same'); put('b', 'x' * 9 + str(n) + 'yyy')"
    report, _ = causes(settings, trained(f"{script}\nif n == 0: put('c', 'once')"))
    changed, missing = report["files"]["different"]
    assert (changed["name"], changed["firstDifference"], changed["differentBytes"]) == ("b", 9, 1)
    assert changed["shown"] == ["line 1: xxxxxxxxx0yyy -> xxxxxxxxx1yyy"]
    assert (missing["name"], missing["kind"], missing["reproduced"]) == ("c", "missing", None)


@pytest.mark.slow
def test_the_path_of_the_directory_it_ran_in_is_named(settings: Settings, trained: Trained) -> None:
    _, found = causes(settings, trained("put(text='model at ' + str(Path('.').resolve()))"))
    assert found["path"]["certainty"] == "seen"
    assert ".resolve()" in found["path"]["code"][0]


@pytest.mark.slow
def test_another_environment_is_named_package_by_package(
    settings: Settings, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = trained("import importlib.metadata\nput(text='0' if not Path(OUTSIDE, 'new').exists() else '1')")
    (tmp_path / "outside" / "new").touch()
    site = tmp_path / "site"
    (site / "rainmaker-2.0.dist-info").mkdir(parents=True)
    (site / "rainmaker-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rainmaker\nVersion: 2.0\n")
    import site as site_module

    before = site_module.getsitepackages()
    monkeypatch.setattr(site_module, "getsitepackages", lambda: [*before, str(site)])
    report, found = causes(settings, artifact)
    assert report["environment"]["changes"] == ["rainmaker: not installed -> 2.0"]
    assert found["packages"]["certainty"] == "seen"
    assert "rainmaker" in found["packages"]["says"]
