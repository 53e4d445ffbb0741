"""What two files and some code show about why a training gave other bytes."""

import gzip
import struct
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.reproducing.causes import Looked, Window, differences, likely
from aiinfra_core.reproducing.comparing import Pair, described, differing, measured
from aiinfra_core.reproducing.mentions import mentions

TRAINED, AGAIN = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 4, 2, 13, 14, 16, tzinfo=UTC)


def window(moment: datetime) -> Window:
    return Window(moment, moment + timedelta(seconds=5))


def pair(folder: Path, before: bytes, after: bytes, name: str = "model.bin") -> Pair:
    for side, content in (("before", before), ("after", after)):
        (folder / side).mkdir(exist_ok=True)
        (folder / side / name).write_bytes(content)
    return Pair(name, folder / "before" / name, folder / "after" / name)


def found(pairs: list[Pair], **more: Any) -> dict[str, str]:
    """Return kind -> certainty of the likely causes."""
    looked = Looked(**{"pairs": pairs, "trained": window(TRAINED), "reproduced": window(AGAIN), "repeats": False, **more})
    return {cause["kind"]: cause["certainty"] for cause in likely(looked)}


def zipped(folder: Path, moment: datetime, content: bytes = b"weights") -> bytes:
    with zipfile.ZipFile(folder / "one.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("weights", moment.timetuple()[:6]), content)
    return (folder / "one.zip").read_bytes()


@pytest.mark.parametrize(
    "written",
    [
        lambda at: f"at {at:%Y-%m-%dT%H:%M:%S}".encode(),
        lambda at: f"at {at:%Y-%m-%d %H:%M:%S.%f}".encode(),
        lambda at: f"at {at:%Y%m%d%H%M%S}".encode(),
        lambda at: f"on {at:%Y-%m-%d}".encode(),
        lambda at: at.ctime().encode(),
        lambda at: b"at %d" % at.timestamp(),
        lambda at: b"at %d" % (at.timestamp() * 1000),
        lambda at: b"%d" % (at.timestamp() * 1_000_000_000),
        lambda at: b"rows" + struct.pack("<d", at.timestamp()),
        lambda at: b"rows" + struct.pack(">q", int(at.timestamp() * 1000)),
        lambda at: b"rows" + struct.pack("<I", int(at.timestamp())),
        lambda at: gzip.compress(b"weights", mtime=at.timestamp()),
    ],
)
def test_times_of_the_two_runs_are_seen_however_they_are_written(tmp_path: Path, written: Any) -> None:
    assert found([pair(tmp_path, written(TRAINED), written(AGAIN))]) == {"time": "seen"}


def test_times_of_zip_members_are_seen(tmp_path: Path) -> None:
    one = pair(tmp_path, zipped(tmp_path, TRAINED), zipped(tmp_path, AGAIN))
    assert found([one]) == {"time": "seen"}
    assert described(one)["shown"] == ["the time of weights: 2026-03-01 12:00:00 -> 2026-04-02 13:14:16"]


def test_what_differs_in_a_zip_file_is_told_by_its_members(tmp_path: Path) -> None:
    one = pair(tmp_path, zipped(tmp_path, TRAINED), zipped(tmp_path, TRAINED, b"heights"))
    assert described(one)["shown"][0].startswith("weights: CRC ")
    assert "time" not in found([one])


@pytest.mark.parametrize("text", [b"at 2025-01-01 10:00:00", b"version 1714000000", b"weights 0.20260402131416"])
def test_a_time_of_another_run_or_a_number_is_no_time_of_this_one(tmp_path: Path, text: bytes) -> None:
    assert "time" not in found([pair(tmp_path, b"something else", text)])


def test_the_same_values_in_another_order_are_told_from_other_values(tmp_path: Path) -> None:
    reordered = [pair(tmp_path, b'["a", "b", "c"]', b'["c", "a", "b"]')]
    assert found(reordered) == {"order": "seen"}
    assert found(reordered, mentions={"listing": ["train.py:3 os.listdir()"]}) == {"listing": "seen"}
    assert found(reordered, mentions={"listing": ["x"], "threads": ["y"]}) == {"listing": "possible", "threads": "possible"}
    assert found([pair(tmp_path, b'["a", "b"]', b'["a", "d"]')]) == {"unknown": "possible"}


def test_only_tiny_differences_of_numbers_are_sums_in_another_order(tmp_path: Path) -> None:
    assert found([pair(tmp_path, b"[1.5, 0.30000000000000004]", b"[1.5, 0.3]")]) == {"threads": "seen"}
    assert found([pair(tmp_path, b"[1.5, 0.31]", b"[1.5, 0.3]")]) == {"unknown": "possible"}
    assert found([pair(tmp_path, b"[1.5, 0.3, a]", b"[1.5, 0.30000000000000004, b]")]) == {"unknown": "possible"}


def test_the_machine_and_the_directory_are_found_in_the_bytes(tmp_path: Path) -> None:
    one = [pair(tmp_path, b"made on rain-1 in /scratch/7", b"made on rain-2 in /scratch/8")]
    assert found(one, machine="rain-2", places=["/scratch/8"]) == {"path": "seen", "machine": "seen"}


def test_what_the_code_mentions_is_only_possible(tmp_path: Path) -> None:
    code = {"randomness": ["train.py:1 random()"], "network": ["train.py:2 get()"], "path": ["train.py:3 cwd()"]}
    one = [pair(tmp_path, b"\0weights", b"\0heights")]
    assert found(one, mentions=code) == {"randomness": "possible", "network": "possible"}
    assert found(one, mentions=code, repeats=True) == {"network": "possible"}


def test_an_environment_nobody_knows_may_have_been_another_and_unpinned_packages_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "requirements.txt").write_text("# what we need\nnumpy>=2\nscikit-learn==1.7.0\n-r more.txt\n")
    code = mentions(tmp_path, "train.py")
    assert code == {"packages": ["requirements.txt:2 numpy>=2"]}
    one = [pair(tmp_path, b"\0weights", b"\0heights")]
    assert found(one, mentions=code, environment=None) == {"packages": "possible"}
    assert found(one, mentions=code, environment=["numpy: 2.1 -> 2.2"]) == {"packages": "seen"}
    assert found(one, mentions=code) == {"unknown": "possible"}


def test_environments_are_told_apart_line_by_line() -> None:
    recorded = {"interpreter": "3.11.2", "platform": "Linux", "packages": ["numpy==2.1", "gone==1"]}
    now = {"interpreter": "3.12.0", "platform": "Linux", "packages": ["numpy==2.2", "new==3"]}
    assert differences(recorded, now) == [
        "interpreter: 3.11.2 -> 3.12.0",
        "gone: 1 -> not installed",
        "new: not installed -> 3",
        "numpy: 2.1 -> 2.2",
    ]


def test_differences_are_counted_across_blocks_and_beyond_the_shorter_end(tmp_path: Path) -> None:
    before, after = bytearray(2**21 + 5), bytearray(2**21 + 9)
    after[7], after[2**20 + 1], after[2**21 + 2] = 1, 1, 1
    told = described(pair(tmp_path, bytes(before), bytes(after)))
    assert (told["firstDifference"], told["differentBytes"]) == (7, 3 + 4)
    assert (told["registered"]["sizeBytes"], told["reproduced"]["sizeBytes"]) == (2**21 + 5, 2**21 + 9)


def test_a_file_that_is_another_files_beginning_differs_where_it_ends(tmp_path: Path) -> None:
    told = described(pair(tmp_path, b"weights", b"weights!"))
    assert (told["firstDifference"], told["differentBytes"]) == (7, 1)


def test_json_is_told_by_the_places_of_its_values(tmp_path: Path) -> None:
    told = described(pair(tmp_path, b'{"trees": [{"at": 1}, {"at": 2}]}', b'{"trees": [{"at": 1}, {"at": 3, "x": null}]}'))
    assert told["shown"] == ["trees[1].at: 2 -> 3", "trees[1].x: nothing -> null"]
    told = described(pair(tmp_path, b'{"a": 1, "b": 2}', b'{"b": 2, "a": 1}'))
    assert told["shown"] == ["the same JSON, written in another order or spacing"]


def test_of_long_lines_what_is_around_the_difference_is_shown(tmp_path: Path) -> None:
    (line,) = described(pair(tmp_path, b"x" * 5000 + b"before" + b"y" * 500, b"x" * 5000 + b"after" + b"y" * 500))["shown"]
    assert line.startswith("line 1: …xxx")
    assert "xbefore" in line and "xafter" in line
    assert len(line) < 300


def test_a_directory_of_equal_files_has_no_difference_and_an_empty_one_is_missing_all(tmp_path: Path) -> None:
    pair(tmp_path, b"same", b"same", "a")
    assert differing(tmp_path / "before", tmp_path / "after") == []
    assert measured(tmp_path / "before") == measured(tmp_path / "after")
    (tmp_path / "after" / "a").unlink()
    assert [(one.name, one.reproduced) for one in differing(tmp_path / "before", tmp_path / "after")] == [("a", None)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("import time as clock; clock.time()", "time"),
        ("from datetime import datetime as d; d.now()", "time"),
        ("import numpy as np; np.random.rand(3)", "randomness"),
        ("import numpy as np; np.random.seed(7); np.random.rand(3)", None),
        ("import numpy as np; np.random.default_rng()", "randomness"),
        ("import random; random.seed(); random.random()", "randomness"),
        ("import random; random.seed(7); random.random()", None),
        ("import random; random.seed(7); random.SystemRandom().random()", "randomness"),
        ("from uuid import uuid4; uuid4()", "randomness"),
        ("import os; os.listdir('.')", "listing"),
        ("import os; sorted(os.listdir('.'))", None),
        ("from pathlib import Path; [*Path('.').iterdir()]", "listing"),
        ("x = {1, 2}", "hash_seed"),
        ("x = sorted({1, 2})", None),
        ("from sklearn.ensemble import X; X(n_jobs=-1)", "threads"),
        ("import requests; requests.get('x')", "network"),
        ("# time.time()", None),
        ("note = 'time.time()'", None),
        ("this is no python, time.time()", None),
    ],
)
def test_code_is_read_as_python_reads_it(tmp_path: Path, line: str, kind: str | None) -> None:
    (tmp_path / "train.py").write_text(f"\n{line}\n")
    seen = mentions(tmp_path, "train.py")
    assert [*seen] == ([] if kind is None else [kind])
    if kind:
        assert seen[kind][0].startswith("train.py:2 ")
