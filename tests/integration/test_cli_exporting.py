"""`aiinfra export` and `aiinfra verify DIR`, as they are typed: what is printed, what is refused in one line, what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import bundle
from aiinfra_core.settings import Settings
from tests.simulators import command_line, exports
from tests.simulators.command_line import Run
from tests.simulators.exports import Known, trained, with_trust

installation, run, known = command_line.installation, command_line.run, exports.known
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trusting(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Configure a trust root too."""
    settings = with_trust(installation)
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(settings.trust_root))
    return settings


def test_a_model_is_exported_and_verified_and_each_command_names_the_next(trusting: Settings, run: Run, tmp_path: Path) -> None:
    trained(trusting)
    assert run("promote rainfall --to prod --metric quality=0.9").code == 0
    out = tmp_path / "story"
    exported = run(f"export rainfall@production --out {out}")
    assert exported.code == 0
    assert "rainfall:1; it verifies." in exported.out
    verify = exported.out.splitlines()[-1].removeprefix("Next: aiinfra ")
    verified = run(f"{verify} --current --max-age 2h")
    assert verified.code == 0
    assert "Proven: rainfall:1 is the model that was registered, byte for byte, and was current in prod (sequence 1)" in verified.out
    assert f"--last-checkpoint  {out}/checkpoint" in verified.out
    again = run(f"export rainfall --out {tmp_path / 'later'} --since {out}/checkpoint --json").json
    assert (again["artifact"]["model"], again["environment"]) == ("rainfall", None)
    seen = f"--last-checkpoint {out}/checkpoint --last-targets {out}/trust/targets.json"
    assert trusting.trust_root is not None
    seen += f" --trust {trusting.trust_root.parent}"
    report = run(f"verify {tmp_path / 'later'} --trust-root {trusting.trust_root} {seen} --json").json
    assert report["verified"] is True
    assert [step["step"] for step in report["steps"]] == list(range(1, 15))
    assert {step["outcome"] for step in report["steps"]} == {"pass", "not-applicable"}
    assert (report["subject"]["model"], report["subject"]["version"]) == ("rainfall", 1)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("verify {missing} --trust-root {pinned}", 2, "There is no directory"),
        ("verify {file} --trust-root {pinned}", 2, "no export directory"),
        ("verify {empty} --trust-root {pinned}", 2, "is no export"),
        ("verify {export} --trust-root {pinned} --trust {empty}", 2, "is no trust directory"),
        ("verify {export}", 2, "--trust-root"),
        ("verify --trust-root {pinned}", 2, "aiinfra verify DIR"),
        ("verify {export} --trust-root {missing}", 2, "cannot be read"),
        ("verify {export} --trust-root {empty}", 2, "is a directory"),
        ("verify {export} --trust-root {file}", 2, "not what it should be"),
        ("verify {export} --trust-root {targets}", 2, "targets metadata, not a root"),
        ("verify {export} --trust-root {pinned} --last-checkpoint {file}", 2, "not what it should be"),
        ("verify {export} --trust-root {pinned} --last-targets {pinned}", 2, "not what it should be"),
        ("verify {export} --trust-root {pinned} --max-age 3h", 2, "--current"),
        ("verify {export} --trust-root {pinned} --current --max-age soon", 2, "24h"),
        ("verify rainfall --current", 2, "is for an export directory"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(known: Known, run: Run, tmp_path: Path, line: str, code: int, said: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    names = {"missing": tmp_path / "missing", "file": tmp_path / "file", "empty": tmp_path / "empty"}
    typed = run(line.format(**names, export=known.export, pinned=known.pinned, targets=known.export / "trust/targets.json"))
    assert (typed.code, typed.out) == (code, "")
    assert said in typed.error


def test_an_unreadable_file_is_told(known: Known, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    folder = exports.copied(known.export, tmp_path / "export")
    (folder / bundle.CHECKPOINT).chmod(0)
    with pytest.raises(BadInput, match="cannot be read"):
        bundle.read(folder)


def test_exports_that_cannot_be_are_refused_in_one_line(
    trusting: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(trusting)
    (tmp_path / "there").mkdir()
    assert (run(f"export rainfall --out {tmp_path / 'there'}").code, run(f"export nothing --out {tmp_path / 'a'}").code) == (2, 2)
    assert run(f"export rainfall@prod --out {tmp_path / 'a'}").code == 2
    assert run(f"export rainfall --out {tmp_path / 'a'} --since {tmp_path / 'nowhere'}").code == 2
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(tmp_path / "nowhere" / "1.root.json"))
    assert run(f"export rainfall --out {tmp_path / 'a'}").code == 6
    assert not (tmp_path / "a").exists()


def test_an_export_killed_on_the_way_leaves_nothing_under_its_name_and_can_be_repeated(
    trusting: Settings, run: Run, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    with weights.open("wb") as file:
        file.truncate(150 * 2**20)
    assert run(f"register --model big {weights}").code == 0
    out = tmp_path / "out"
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(sys.argv[1:]))"
    killed = subprocess.Popen([sys.executable, "-c", code, "export", "big", "--out", str(out)], stderr=subprocess.DEVNULL, cwd=PROJECT)
    while not list(tmp_path.glob(".out.partial/content/.model.partial/content")) and not list(
        tmp_path.glob(".out.partial/content/model/.*")
    ):
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not out.exists()
    assert (tmp_path / ".out.partial").exists()
    assert json.loads(run(f"export big --out {out} --json").out)["artifact"]["model"] == "big"
    assert not (tmp_path / ".out.partial").exists()
