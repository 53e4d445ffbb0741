"""The commands of docs/evidence.md check an envelope with openssl alone, and find one that was changed."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evidence.md").read_text()
HAND = PAGE.partition("### By hand")[2]


COMMANDS, PRINTED = re.findall(r"^```[a-z]*\n(.*?)^```$", HAND, re.MULTILINE | re.DOTALL)[:2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DOCS / "examples/envelopes", tmp_path / "envelopes"))


def typed(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-euo", "pipefail", "-c", COMMANDS], cwd=folder, capture_output=True, text=True, check=False)


def test_the_commands_print_what_the_page_says(folder: Path) -> None:
    done = typed(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PRINTED


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_the_commands_find_an_envelope_that_was_changed(folder: Path, part: str) -> None:
    envelope = json.loads((folder / "registration.dsse.json").read_bytes())
    holder = envelope if part == "payload" else envelope["signatures"][0]
    data = bytearray(base64.b64decode(holder[part]))
    data[40] ^= 1
    holder[part] = base64.b64encode(data).decode()
    (folder / "registration.dsse.json").write_text(json.dumps(envelope))
    done = typed(folder)
    assert done.returncode != 0
    assert "Signature Verification Failure" in done.stdout


def test_the_page_names_what_is_there() -> None:
    for page in (DOCS / "evidence.md", DOCS / "examples/envelopes/README.md"):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), link
