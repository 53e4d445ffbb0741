"""Trainings with a script of the test's own as the committed entry point."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.training.execute import TrainingRun, execute
from tests.simulators.git_repository import repository

HEAD = """
import json, os, sys, time
from pathlib import Path
at = dict(zip(sys.argv[1::2], map(Path, sys.argv[2::2])))
inputs = json.loads(at["--inputs"].read_text())
output, metrics = at["--output"], at["--metrics"]
def put(name="model.bin", text="model"):
    (output / name).write_text(text)
"""

Train = Callable[..., TrainingRun]


def spec_for(ref: str, **fields: Any) -> TrainingSpec:
    given = {"model": "rows", "code_ref": ref, "container_digest": f"sha256:{'0' * 64}", "entry_point": "train.py", "seed": 7}
    return TrainingSpec.model_validate(given | fields)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Commit a script after `HEAD` and train with it; other arguments are fields of the spec, or `execute`'s."""

    def run(script: str, *, timeout_seconds: float = 60.0, on_output: Callable[[str], None] = lambda _: None, **fields: Any) -> TrainingRun:
        ref = repository(tmp_path / "source", {"train.py": HEAD + script})
        return execute(
            spec_for(ref, **fields),
            scratch=tmp_path / "scratch",
            cache=tmp_path / "cache",
            timeout_seconds=timeout_seconds,
            on_output=on_output,
        )

    return run
