"""Evaluations with a script of the test's own as the committed entry point, of models that are a JSON object of weights."""

from pathlib import Path
from typing import Any

from aiinfra_core import artifact_store, checksums, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.settings import Settings
from tests.simulators.git_repository import repository
from tests.simulators.training_script import HEAD

DAYS = b"1,2,3"
SCORE = 'at["--metrics"].write_text(json.dumps({"quality": json.loads(Path(inputs["model"]).read_text())["quality"], "days": 3}))'


def evaluation_spec(folder: Path, script: str = SCORE, **changes: Any) -> EvaluationSpec:
    """Commit a script after the head that reads its arguments, with its data beside it; return a spec that runs it."""
    code_ref = repository(folder, {"evaluate.py": HEAD + script, "days.csv": DAYS})
    data = DatasetRef(name="days", uri="days.csv", sha256=checksums.sha256_hex(DAYS))
    return EvaluationSpec.model_validate({"code_ref": code_ref, "entry_point": "evaluate.py", "dataset_refs": [data]} | changes)


def registered(settings: Settings, folder: Path, quality: float = 0.9) -> Artifact:
    """Register a model that was trained elsewhere and says itself how good it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (source := folder / f"model-{quality}.json").write_text(f'{{"quality": {quality}}}')
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/model-{quality}")
    request = RegistrationRequest(model="rain", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    return registering.register(settings, request)
