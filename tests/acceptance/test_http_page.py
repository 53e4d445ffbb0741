"""docs/http.md does what it says: its lines are typed against `aiinfra serve` on nothing but its defaults."""

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

PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.md"


def blocks() -> list[str]:
    """Return the commands of the page, block by block."""
    return re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[Served]:
    variables = {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"], "AI_INFRA_HOME": str(home)}
    with started(tmp_path / "served", dict(os.environ) | variables, "--run-runner") as service:
        yield service
        service.end()


@pytest.mark.timeout(300)
def test_whoever_types_the_page_takes_a_model_to_production(served: Served, tmp_path: Path) -> None:
    start, setup, *story = blocks()
    assert ".venv/bin/aiinfra serve --run-runner" in start
    assert "http://127.0.0.1:8061" in setup
    lines = "\n".join(["set -euo pipefail", setup.replace("http://127.0.0.1:8061", served.url), *story])
    variables = dict(os.environ) | {"AI_INFRA_DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"]}
    typed = subprocess.run(["bash", "-c", lines], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert typed.returncode == 0, f"{typed.stdout}\n{typed.stderr}"

    job, artifact = (json.loads((tmp_path / name).read_text()) for name in ("job.json", "artifact.json"))
    assert (job["status"], job["model"], job["seed"]) == ("completed", "rainfall", 7)
    assert (artifact["trainingJobId"], artifact["checksum"], artifact["provenance"]) == (job["id"], job["checksum"], "trained")
    assert '"status":"applied"' in typed.stdout
    assert [it["version"] for it in httpx.get(f"{served.url}/ai-infra/models?trainingJobId={job['id']}").json()] == [2, 1]
    detail = httpx.get(f"{served.url}/ai-infra/models/{artifact['id']}")
    assert typed.stdout.endswith(detail.text)
    assert [(it["environment"], it["status"]) for it in detail.json()["promotions"]] == [("prod", "rejected"), ("staging", "applied")]
