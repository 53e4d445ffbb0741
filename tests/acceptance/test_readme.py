"""The README's "Check it yourself" does what it says: its commands, read out of it, are typed in a fresh home."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core.embedded import postgres

PROJECT = Path(__file__).resolve().parents[2]
MOST_LINES = 10


def commands(section: str) -> list[str]:
    """Return the command lines of a section of the README."""
    text = (PROJECT / "README.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in which the README's paths lead to this project."""
    work = tmp_path / "work"
    work.mkdir()
    for name in (".venv", "aiinfra_core"):
        (work / name).symlink_to(PROJECT / name)
    yield work
    postgres.stop(tmp_path / ".local" / "share" / "ai-infra")


def _typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "AI_INFRA_HOME"} | {"HOME": str(folder.parent)}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whoever_types_the_ten_lines_checks_a_model_alone(folder: Path) -> None:
    (folder / "weights").write_text("3.14")
    before = ["register --model rainfall weights", "promote rainfall --to staging --metric quality=0.9", "trust init"]
    lines = commands("Check it yourself")
    assert len(lines) == MOST_LINES
    said = {}
    for line in [*(f".venv/bin/aiinfra {one}" for one in before), *lines]:
        ended = _typed(line, folder)
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
        said[line] = ended.stdout
    current, script, first_sums = (said[lines[place]] for place in (2, 3, 4))
    assert re.search(r"Proven: rainfall:1 .* current in staging \(sequence 1\)", current)
    assert script.count("ok  ") == 7
    assert ": OK" in first_sums
    assert re.search(r"10 +consistency +ok", said[lines[7]])
    tampered = said[lines[-1]]
    assert "README.txt: It is not the file that was listed" in tampered
    assert _typed(lines[-1].removeprefix("! "), folder).returncode == 5
