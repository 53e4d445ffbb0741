"""`aiinfra evaluate` with a script of one's own: what was measured, by what, and how it compares with what is current."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import checksums
from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.simulators.evaluation_script import DAYS, evaluation_spec, registered
from tests.simulators.serialised_models import malicious, own_class

installation, run = command_line.installation, command_line.run


@pytest.fixture
def line(installation: Settings, tmp_path: Path) -> str:
    """Register two versions of a model and give the options of a script that measures them."""
    for quality in (0.85, 0.9):
        registered(installation, tmp_path, quality)
    folder = evaluation_spec(tmp_path / "code").code_ref.rpartition("@")[0]
    return f"--code {folder} --entry-point evaluate.py --dataset days=days.csv"


def test_a_script_measures_a_version_and_what_is_current_where_it_would_go(run: Run, line: str) -> None:
    assert run("promote rain:1 --to prod --metric quality=0.85").code == 0
    ran = run(f"evaluate rain:2 {line} --param parts=4 --against production --requested-by eva")
    assert "rain:2 has a signed evaluation, measured by evaluate.py" in ran.out
    assert [row.split() for row in ran.out.splitlines() if row.startswith(("METRIC", "quality"))] == [
        ["METRIC", "rain:2", "rain:1", "in", "prod", "DIFFERENCE"],
        ["quality", "0.9", "0.85", "+0.05"],
    ]
    assert ran.out.splitlines()[-1] == "Next: aiinfra promote rain:2 --to prod"
    shown = run("models show rain:1").out
    measured, claimed = (next(line for line in shown.splitlines() if line.strip().startswith(how)) for how in ("measured", "claimed"))
    digests = {one["source"]: one["digest"] for one in _told(run, "rain:1")}
    assert "days 3, quality 0.85" in measured and f"days ({checksums.sha256_hex(DAYS)[:12]})" in measured and "parts 4" in measured
    assert measured.endswith(f"pipeline  eva   {digests['pipeline'][:12]}")
    assert "nobody knows" in claimed and claimed.endswith(digests["caller"][:12])


def _told(run: Run, version: str) -> list[dict[str, Any]]:
    return [one | {"source": "pipeline" if one["spec"] else "caller"} for one in run(f"models show {version} --json").json["evaluations"]]


def test_a_version_shows_its_newest_scan_and_reproduction(run: Run, line: str) -> None:
    shown = run("models show rain:1").out
    assert re.search(r"^  scan +no_code, \d{4}", shown, re.MULTILINE)
    assert re.search(r"^  reproduction +not trained again$", shown, re.MULTILINE)
    known = run("models show rain:1 --json").json
    assert (known["scan"]["verdict"], known["reproduction"]) == ("no_code", None)


@pytest.mark.parametrize(
    ("content", "verdict"), [(malicious(), "unsafe"), (own_class(), "suspicious"), (b"\x00\x01nobody knows", "unknown")]
)
def test_whoever_registers_what_may_run_code_is_warned(
    installation: Settings, run: Run, tmp_path: Path, content: bytes, verdict: str
) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    told = run(f"register --model rain {tmp_path / 'model.bin'}")
    assert (told.code, f"Warning: rain:1 is {verdict}: " in told.err) == (0, True), told.err
    assert re.search(rf"^  scan +{verdict}$", told.out, re.MULTILINE)
    assert f"Warning: rain:2 is {verdict}: " in run(f"register --model rain {tmp_path / 'model.bin'} --json --request-id again").err


def test_whoever_registers_what_cannot_run_code_is_not_warned(installation: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("[1]")
    told = run(f"register --model rain {tmp_path / 'model.json'}")
    assert ("Warning" in told.err, "scan      no_code" in told.out) == (False, True)


def test_for_scripts_the_evaluations_are_one_json_value(run: Run, line: str) -> None:
    alone = run(f"evaluate rain:2 {line} --json").json
    assert (alone["kind"], alone["metrics"], alone["spec"]["entryPoint"]) == ("measured", {"quality": 0.9, "days": 3}, "evaluate.py")
    against = run(f"evaluate rain:2 {line} --against prod --json").json
    assert against == {"evaluation": alone, "champion": None, "difference": None}
    run("promote rain:1 --to prod --metric quality=0.85")
    compared = run(f"evaluate rain:2 {line} --against prod --json").json
    assert (compared["evaluation"], compared["champion"]["metrics"]) == (alone, {"quality": 0.85, "days": 3})
    assert compared["difference"] == {"quality": pytest.approx(0.05), "days": 0}
    assert compared["champion"]["specDigest"] == alone["specDigest"]


def test_where_nothing_is_current_there_is_nothing_to_compare_with(run: Run, line: str) -> None:
    assert "Nothing is current in prod" in run(f"evaluate rain:2 {line} --against prod").out


def test_a_spec_can_stand_in_a_file_and_options_win_over_it(run: Run, line: str, tmp_path: Path) -> None:
    first = run(f"evaluate rain:2 {line} --json").json
    (tmp_path / "evaluation.json").write_text(json.dumps(first["spec"]))
    assert run(f"evaluate rain:2 --spec {tmp_path / 'evaluation.json'} --json").json == first
    other: dict[str, Any] = run(f"evaluate rain:2 --spec {tmp_path / 'evaluation.json'} --seed 3 --param slices=2 --json").json
    assert (other["spec"]["seed"], other["spec"]["parameters"]) == (3, {"slices": 2})
    assert other["specDigest"] != first["specDigest"]


def test_a_script_that_fails_has_an_exit_code_of_its_own_and_its_log_is_kept(run: Run, line: str, tmp_path: Path) -> None:
    evaluation_spec(tmp_path / "code", "raise SystemExit('no days at all')")
    ran = run(f"evaluate rain:2 {line}")
    assert (ran.code, "The evaluation of rain:2 failed: evaluate.py ended with exit code 1" in ran.error) == (7, True)
    assert Path(ran.error.rpartition("file://")[2].removesuffix(".")).read_text() == "no days at all\n"
    assert "Evaluations" not in run("models show rain:2").out


WRONG = (
    ("--against prod", "--against compares what a script measures"),
    ("--entry-point evaluate.py", "An evaluation needs --code"),
    ("--code {code}", "An evaluation needs --entry-point, --dataset"),
    ("--code {code} --entry-point evaluate.py", "An evaluation needs --dataset"),
    ("--code {code} --entry-point evaluate.sh --dataset days=days.csv", "This does not describe an evaluation spec: entryPoint"),
    ("--code {code} --entry-point measure.py --dataset days=days.csv", "has no file measure.py"),
    ("--code {code} --entry-point evaluate.py --dataset days=nights.csv", "say its digest"),
    ("--spec nothing.json", "cannot be read"),
    ("--spec {code}/../unknown.json", "unknown.json names 'coderef', which no evaluation spec has; it has codeRef, entryPoint,"),
    ("--spec {code}/../broken.json", "is not readable as JSON: JSONDecodeError at line 2, column 13"),
    ("--code {code} --entry-point evaluate.py --dataset days=days.csv --against moon", "There is no environment 'moon'"),
)


def test_what_is_missing_or_wrong_is_told(run: Run, line: str, tmp_path: Path) -> None:
    (tmp_path / "unknown.json").write_text('{"coderef": "."}')
    (tmp_path / "broken.json").write_text('{\n "codeRef": nope}')
    for typed, said in WRONG:
        ran = run(f"evaluate rain:2 {typed.format(code=tmp_path / 'code')}")
        assert (ran.code, said in ran.error) == (2, True), ran.error


def test_a_promotion_can_name_the_evaluation_it_is_judged_on(run: Run, line: str) -> None:
    wanted = run(f"evaluate rain:2 {line} --json").json["digest"]
    newer = run(f"evaluate rain:2 {line} --seed 1 --json").json["digest"]
    assert wanted != newer
    shown = run(f"promote rain:2 --to staging --evaluation {wanted} --json").json
    assert shown["status"] == "applied"
    mistyped = run("promote rain:1 --to staging --evaluation 1234")
    assert (mistyped.code, mistyped.error.startswith("--evaluation must be the digest of a recorded evaluation")) == (2, True)
    ran = run(f"promote rain:1 --to staging --evaluation {wanted}")
    assert (ran.code, "rain:1 has no evaluation" in ran.error) == (2, True)
