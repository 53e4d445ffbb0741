"""Carries out one training: chooses the executor, runs it, judges what it wrote.

A training that ran and failed is a result with an `error`; a spec that cannot be carried out, or a part that cannot be reached, is an
exception. Job status, storing and signing are not here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.training import code, datasets, deterministic, environment, outcome, process
from aiinfra_core.training.scratch import alone_in, fresh_run_directory

LOG_NAME = "training.log"


@dataclass(frozen=True)
class TrainingRun:
    """What came of a training.

    `output` (a file or a directory) and `metrics` are None when `error` says why it failed. `training_record` is the canonical JSON of
    everything the result depends on, without times, so that the same inputs give the same bytes. `commit` is what was checked out, and
    `log` what was printed; both are None where nothing was run.
    """

    executor: str
    output: Path | None
    metrics: dict[str, float] | None
    training_record: bytes
    log: Path | None
    exit_code: int
    started_at: datetime
    finished_at: datetime
    commit: str | None
    environment_digest: str
    error: str | None


def execute(
    spec: TrainingSpec,
    *,
    scratch: Path,
    cache: Path,
    timeout_seconds: float,
    on_output: Callable[[str], None],
    s3_endpoint_url: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainingRun:
    """Train: run the spec's entry point in a process of its own or, without one, derive the artifact from the declared inputs.

    What an earlier, killed call left in `scratch` is removed first.

    Args:
        spec: what to train.
        scratch: a directory of the caller's; output and log are in it afterwards.
        cache: where datasets are kept from one training to the next.
        timeout_seconds: how long the entry point may run.
        on_output: called with each line the entry point prints, while it runs.
        s3_endpoint_url: an S3 server for datasets, other than the configured one.
        stopped: asked several times a second whether to stop the entry point now.

    Raises:
        BadInput: the commit, the entry point or a dataset's uri cannot be what was meant.
        NotFound: a repository or dataset does not exist.
        DigestMismatch: a dataset is not the one that was named.
        Unavailable: `code` or `dataset` could not be reached, another training is running in `scratch`, or it was stopped (`training`).
    """
    with alone_in(scratch) as lock:
        folder = fresh_run_directory(scratch, LOG_NAME)
        if spec.entry_point is None:
            return _derive(spec, folder)
        checkout = code.checkout(spec.code_ref, folder / "code")
        files = {ref.name: datasets.fetch(ref, cache, code=folder / "code", s3_endpoint_url=s3_endpoint_url) for ref in spec.dataset_refs}
        process.prepare(spec, folder, files)
        run = _run(spec, folder, checkout, timeout_seconds, on_output, lock, stopped)
    if run.error is not None and stopped():
        raise Unavailable("training", "The training was stopped before its end; it begins anew when somebody takes it up.")
    return run


def _derive(spec: TrainingSpec, folder: Path) -> TrainingRun:
    started_at, lock = datetime.now(UTC), environment.capture()
    output = folder / "model.json"
    output.write_bytes(deterministic.artifact(spec))
    return TrainingRun(
        executor="deterministic",
        output=output,
        metrics=None,
        training_record=_record("deterministic", spec, None, lock),
        log=None,
        exit_code=0,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        commit=None,
        environment_digest=lock["digest"],
        error=None,
    )


def _run(
    spec: TrainingSpec,
    folder: Path,
    checkout: code.Checkout,
    timeout_seconds: float,
    on_output: Callable[[str], None],
    held: int,
    stopped: Callable[[], bool],
) -> TrainingRun:
    lock, log = environment.capture(), folder.parent / LOG_NAME
    before, started_at = outcome.snapshot(folder), datetime.now(UTC)
    ended = process.run(
        spec,
        folder,
        committed_at=checkout.committed_at,
        log=log,
        timeout_seconds=timeout_seconds,
        on_output=on_output,
        keep_open=(held,),
        stopped=stopped,
    )
    finished_at = datetime.now(UTC)
    output, metrics, error = _judged(spec, folder, before, ended, timeout_seconds)
    return TrainingRun(
        executor="process",
        output=output,
        metrics=metrics,
        training_record=_record("process", spec, checkout.commit, lock),
        log=log,
        exit_code=ended.exit_code,
        started_at=started_at,
        finished_at=finished_at,
        commit=checkout.commit,
        environment_digest=lock["digest"],
        error=error,
    )


def _judged(
    spec: TrainingSpec, folder: Path, before: outcome.Snapshot, ended: process.Ended, timeout_seconds: float
) -> tuple[Path | None, dict[str, float] | None, str | None]:
    try:
        process.check_ended_well(spec, ended, timeout_seconds)
        outcome.check_nothing_else_changed(folder, before)
        return outcome.find_output(folder), outcome.read_metrics(folder), None
    except BadInput as error:
        return None, None, str(error)


def _record(executor: str, spec: TrainingSpec, commit: str | None, environment_lock: dict[str, Any]) -> bytes:
    return canonical_json.dumps(
        {
            "executor": executor,
            "spec": spec.model_dump(mode="json", by_alias=True),
            "commit": commit,
            "datasets": {ref.name: ref.sha256 for ref in spec.dataset_refs},
            "environment": environment_lock,
        }
    )
