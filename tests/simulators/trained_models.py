"""Models with a provenance: trained by a script of the test's own, stored and registered, all of it for real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import jobs, registering
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.settings import Settings
from tests.simulators.git_repository import repository
from tests.simulators.training_script import HEAD, spec_for

Trained = Callable[..., Artifact]


def trained_by(settings: Settings, folder: Path, script: str, more: dict[str, str] | None = None, **fields: Any) -> Artifact:
    """Commit a script after `HEAD`, train with it here and register what it made; other arguments are fields of the spec."""
    ref = repository(folder, {"train.py": HEAD + script, **(more or {})})
    job = jobs.train(settings, spec_for(ref, **fields), requested_by="tara", on_output=print)
    assert job.status is JobStatus.COMPLETED, job.error
    return registering.register(settings, registering.registration_of(job))


@pytest.fixture
def trained(settings: Settings, tmp_path: Path) -> Trained:
    """Give a function that trains and registers a model with a script; a training may use the directory `outside`."""
    (tmp_path / "outside").mkdir()

    def train(script: str, more: dict[str, str] | None = None, **fields: Any) -> Artifact:
        return trained_by(settings, tmp_path / "source", script.replace("OUTSIDE", repr(str(tmp_path / "outside"))), more, **fields)

    return train
