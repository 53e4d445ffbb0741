"""Carries out one evaluation: the spec's script beside an artifact's bytes, in the same isolation as a training.

An evaluation that ran and failed is a result with an `error`. Signing and keeping what was measured is not here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.training import code, datasets, outcome, process, scratch

LOG_NAME = "evaluation.log"


@dataclass(frozen=True)
class EvaluationRun:
    """What came of an evaluation: `metrics`, or an `error` that says why there are none; `log` is all the script printed."""

    metrics: dict[str, float] | None
    log: bytes
    error: str | None


def measure(
    spec: EvaluationSpec,
    lay_out: Callable[[Path], object],
    *,
    folder: Path,
    cache: Path,
    timeout_seconds: float,
    on_output: Callable[[str], None],
    s3_endpoint_url: str | None = None,
) -> EvaluationRun:
    """Run the spec's script in a process of its own and return what it measured; nothing else it wrote is kept.

    Args:
        spec: what to run, and on which data.
        lay_out: puts the artifact's verified bytes, a file or a directory, at a path, read-only.
        folder: a scratch directory of the caller's; only its log stays.
        cache: where datasets are kept from one run to the next.
        timeout_seconds: how long the script may run.
        on_output: called with each line the script prints, while it runs.
        s3_endpoint_url: an S3 server for datasets, other than the configured one.

    Raises:
        BadInput: the commit, the entry point or a dataset's uri cannot be what was meant.
        NotFound: a repository or dataset does not exist.
        DigestMismatch: a dataset is not the one that was named.
        Unavailable: `code` or `dataset` could not be reached, or another run is under way in `folder`.
    """
    with scratch.alone_in(folder) as held:
        run = scratch.fresh_run_directory(folder, LOG_NAME)
        try:
            checkout = code.checkout(spec.code_ref, run / "code")
            files = {ref.name: datasets.fetch(ref, cache, code=run / "code", s3_endpoint_url=s3_endpoint_url) for ref in spec.dataset_refs}
            process.prepare(spec, run, files)
            lay_out(run / process.MODEL)
            before, log = outcome.snapshot(run), folder / LOG_NAME
            ended = process.run(
                spec,
                run,
                committed_at=checkout.committed_at,
                log=log,
                timeout_seconds=timeout_seconds,
                on_output=on_output,
                keep_open=(held,),
            )
            return _judged(spec, run, before, ended, timeout_seconds, log.read_bytes())
        finally:
            scratch.remove(run)


def _judged(
    spec: EvaluationSpec, run: Path, before: outcome.Snapshot, ended: process.Ended, timeout_seconds: float, log: bytes
) -> EvaluationRun:
    try:
        process.check_ended_well(spec, ended, timeout_seconds)
        outcome.check_nothing_else_changed(run, before)
        metrics = outcome.read_metrics(run)
    except BadInput as error:
        return EvaluationRun(None, log, str(error))
    nothing = None if metrics else f"{spec.entry_point} measured nothing; let it write what it measures to --metrics."
    return EvaluationRun(metrics or None, log, nothing)
