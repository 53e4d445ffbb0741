"""docs/http.md and the README do what they say: their lines are typed against `aiinfra serve` on nothing but its defaults."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.simulators.served import Served, started
from tests.simulators.service import AS_DEBUG

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str) -> list[str]:
    """Return commands, block by block."""
    return re.findall(r"^```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def typed(lines: str, folder: Path) -> str:
    """Type lines into a shell and return what they print."""
    variables = dict(os.environ) | {"AI_INFRA_DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"]}
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{lines}"], cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[Served]:
    variables = {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"], "AI_INFRA_HOME": str(home)}
    with started(tmp_path / "served", dict(os.environ) | variables, "--run-runner") as service:
        yield service
        service.end()


@pytest.mark.timeout(300)
def test_whoever_types_the_page_takes_a_model_to_production(served: Served, tmp_path: Path) -> None:
    start, setup, *story = blocks((ROOT / "docs" / "http.md").read_text())
    assert ".venv/bin/aiinfra serve --run-runner" in start
    assert "http://127.0.0.1:8061" in setup
    printed = typed("\n".join([setup.replace("http://127.0.0.1:8061", served.url), *story]), tmp_path)

    job, artifact = (json.loads((tmp_path / name).read_text()) for name in ("job.json", "artifact.json"))
    assert (job["status"], job["model"], job["seed"]) == ("completed", "rainfall", 7)
    assert (artifact["trainingJobId"], artifact["checksum"], artifact["provenance"]) == (job["id"], job["checksum"], "trained")
    assert '"status":"applied"' in printed
    assert [it["version"] for it in httpx.get(f"{served.url}/ai-infra/models?trainingJobId={job['id']}").json()] == [2, 1]
    detail = httpx.get(f"{served.url}/ai-infra/models/{artifact['id']}")
    assert printed.endswith(detail.text)
    assert [(it["environment"], it["status"]) for it in detail.json()["promotions"]] == [("prod", "rejected"), ("staging", "applied")]


@pytest.mark.timeout(300)
def test_whoever_types_the_readme_takes_a_model_to_staging(served: Served, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Run the service")[1].split("\n## ")[0]
    start, story = blocks(section)
    assert ".venv/bin/aiinfra serve --run-runner" in start
    printed = typed(story.replace("http://127.0.0.1:8061", served.url), tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    detail = httpx.get(f"{served.url}/ai-infra/models/{found[0]['id']}")
    assert printed.endswith(detail.text)
    assert [(it["environment"], it["status"]) for it in detail.json()["promotions"]] == [("prod", "rejected"), ("staging", "applied")]
