"""Runs a recorded training again, in a directory of the reproduction's own, without recording anything."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput
from aiinfra_core.reproducing import comparing
from aiinfra_core.reproducing.origins import Origin
from aiinfra_core.settings import Settings
from aiinfra_core.training import environment
from aiinfra_core.training.execute import execute


@dataclass(frozen=True)
class Run:
    """What came of one run: `output`, measured as `reproduced`; both are None where `error` says why nothing came.

    `folder` is the directory it ran in.
    """

    output: Path | None
    reproduced: dict[str, Any] | None
    metrics: dict[str, float] | None
    error: str | None
    executor: str | None
    environment: dict[str, Any]
    log: Path | None
    folder: Path
    started_at: datetime
    finished_at: datetime


def run(settings: Settings, origin: Origin, scratch: Path, on_output: Callable[[str], None]) -> Run:
    """Run the training in a directory and return what came of it; what can never be carried out is a run with an error.

    Raises:
        Unavailable: a required part could not be reached.
    """
    began, folder = datetime.now(UTC), scratch.resolve() / "run"
    try:
        done = execute(
            origin.job.spec,
            scratch=scratch,
            cache=settings.home / "datasets",
            timeout_seconds=settings.training_timeout_seconds,
            on_output=on_output,
            s3_endpoint_url=settings.s3_endpoint_url,
        )
    except BadInput as error:
        return Run(None, None, None, str(error), None, environment.capture(), None, folder, began, datetime.now(UTC))
    return Run(
        output=done.output,
        reproduced=comparing.measured(done.output) if done.output else None,
        metrics=done.metrics,
        error=done.error,
        executor=done.executor,
        environment=canonical_json.loads(done.training_record)["environment"],
        log=done.log,
        folder=folder,
        started_at=done.started_at,
        finished_at=done.finished_at,
    )
