"""The rainfall example trained here is made again, bit for bit, in another directory by another process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core import checksums, jobs, registering, verifying
from aiinfra_core.domain.training import DatasetRef, JobStatus
from aiinfra_core.settings import Settings
from tests.simulators.git_repository import commit
from tests.simulators.training_script import spec_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "rainfall"


@pytest.mark.slow
def test_the_rainfall_example_is_made_again_bit_for_bit_elsewhere(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    data = DatasetRef(name="rainfall", uri="rainfall.parquet", sha256=checksums.sha256_hex((EXAMPLE / "rainfall.parquet").read_bytes()))
    ref = f"{tmp_path / 'source'}@{commit(tmp_path / 'source')}"
    spec = spec_for(ref, model="rainfall", dataset_refs=[data])
    job = jobs.train(settings, spec, requested_by="tara", on_output=print)
    assert job.status is JobStatus.COMPLETED, job.error
    artifact = registering.register(settings, registering.registration_of(job))
    assert settings.database_url is not None and settings.signer_key_b64 is not None
    # Another home, and so another directory and another cache of data.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AI_INFRA_HOME": str(tmp_path / "another" / "worker"),
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": "test",
    }
    program = [sys.executable, "-c", "from aiinfra_core.cli.app import main; raise SystemExit(main())", "reproduce", "rainfall:1"]
    done = subprocess.run([*program, "--reproduced-by", "rosa", "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    made = json.loads(done.stdout)
    assert (made["outcome"], made["reproducedChecksum"]) == ("identical", artifact.checksum)
    assert made["report"]["independent"] is True
    assert all(one["difference"] == 0 for one in made["report"]["metrics"].values())
    assert verifying.verify_history(settings).findings == []
