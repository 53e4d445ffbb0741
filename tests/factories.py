"""Small real things the tests are made of: a git repository whose training gives the same tiny model each time, and specs for it."""

from pathlib import Path
from typing import Any

from aiinfra_core.domain.training import TrainingSpec
from tests.simulators import git_repository

CONTAINER = f"sha256:{'c0' * 32}"
_TRAIN = """
import argparse, json
from pathlib import Path

QUALITY = {quality!r}
parser = argparse.ArgumentParser()
for name in ("--inputs", "--output", "--metrics"):
    parser.add_argument(name, type=Path, required=True)
arguments = parser.parse_args()
inputs = json.loads(arguments.inputs.read_text())
for step in (1, 2, 3, 4):
    print(f"step {{step}} of 4", flush=True)
model = {{"weights": [inputs["seed"], QUALITY], "hyperparams": inputs["hyperparams"]}}
(arguments.output / "model.json").write_text(json.dumps(model, sort_keys=True))
arguments.metrics.write_text(json.dumps({{"quality": QUALITY, "rows": 4}}))
"""
_FAIL = """
print("looking at the data")
raise SystemExit("the data has no rows")
"""


def make_training_repository(path: Path, quality: float = 0.9) -> str:
    """Make a repository whose `train.py` writes a small model that scores `quality`; return `PATH@COMMIT`."""
    return git_repository.repository(path, {"train.py": _TRAIN.format(quality=quality), "fail.py": _FAIL})


def training_spec(code_ref: str, **changes: Any) -> TrainingSpec:
    """Return a spec that trains `rainfall` with the repository's `train.py`."""
    values = {"model": "rainfall", "code_ref": code_ref, "container_digest": CONTAINER, "entry_point": "train.py", "seed": 7}
    return TrainingSpec(**values | changes)
