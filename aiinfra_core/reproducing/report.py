"""The report of a reproduction: outcome, digests, files, metrics, environments and likely causes, as one JSON value."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiinfra_core import artifact_store
from aiinfra_core.domain.reproduction import Outcome, ReproductionRequest
from aiinfra_core.errors import ArtifactMissing
from aiinfra_core.reproducing import causes, comparing
from aiinfra_core.reproducing.causes import Looked, Window
from aiinfra_core.reproducing.comparing import Pair
from aiinfra_core.reproducing.mentions import mentions
from aiinfra_core.reproducing.origins import Origin
from aiinfra_core.reproducing.runs import Run
from aiinfra_core.settings import Settings
from aiinfra_core.training import scratch

_MOST_CHANGES = 50


def made(
    settings: Settings, request: ReproductionRequest, origin: Origin, run: Run, again: Run | None, place: Path
) -> tuple[Outcome, str | None, dict[str, Any]]:
    """Compare what came out with what was registered; return outcome, checksum of what came out, and the report.

    Args:
        settings: where bytes are kept.
        request: what was asked.
        origin: what was run.
        run: what came of it.
        again: what came of a second run, where the first one gave other bytes.
        place: a directory for what was registered.

    Raises:
        DigestMismatch: the stored bytes are not those that were registered.
        Unavailable: a required part could not be reached.
    """
    metrics = _metrics(origin.job.metrics or {}, run.metrics or {}, request.tolerances)
    outcome = _outcome(origin, run, request, metrics)
    found = _facts(request, origin, run) | {"metrics": metrics, "logUri": _kept_log(settings, run)}
    if outcome is Outcome.FAILED:
        found["causes"] = causes.of_environment(found["environment"]["changes"])
    elif outcome is not Outcome.IDENTICAL:
        found |= _compared(settings, origin, run, again, place)
    return outcome, run.reproduced["checksum"] if run.reproduced else None, found


def _outcome(origin: Origin, run: Run, request: ReproductionRequest, metrics: Mapping[str, Any]) -> Outcome:
    if run.reproduced is None:
        return Outcome.FAILED
    if run.reproduced["checksum"] == origin.artifact.checksum:
        return Outcome.IDENTICAL
    close = bool(request.tolerances) and all(one["within"] for one in metrics.values())
    return Outcome.WITHIN_TOLERANCE if close else Outcome.DIFFERENT


def _facts(request: ReproductionRequest, origin: Origin, run: Run) -> dict[str, Any]:
    artifact, recorded = origin.artifact, origin.environment
    return {
        "registered": {"digestKind": artifact.digest_kind.value, "checksum": artifact.checksum, "sizeBytes": artifact.size_bytes},
        "reproduced": run.reproduced,
        "error": run.error,
        "executor": run.executor,
        "codeRef": origin.job.spec.code_ref,
        "trainedBy": origin.trained_by,
        "reproducedBy": request.reproduced_by,
        "independent": request.reproduced_by != origin.trained_by,
        "tolerances": dict(request.tolerances),
        "environment": {
            "recorded": recorded and recorded.get("digest"),
            "now": run.environment["digest"],
            "changes": None if recorded is None else causes.differences(recorded, run.environment)[:_MOST_CHANGES],
        },
        "files": None,
        "repeats": None,
        "causes": [],
    }


def _metrics(recorded: Mapping[str, Any], reproduced: Mapping[str, float], tolerances: Mapping[str, float]) -> dict[str, Any]:
    return {
        name: _metric(recorded.get(name), reproduced.get(name), tolerances.get(name, 0.0))
        for name in sorted(recorded.keys() | reproduced.keys())
    }


def _metric(recorded: float | None, reproduced: float | None, tolerance: float) -> dict[str, Any]:
    apart = None if recorded is None or reproduced is None else abs(reproduced - recorded)
    within = apart is not None and apart <= tolerance
    return {"recorded": recorded, "reproduced": reproduced, "difference": apart, "tolerance": tolerance, "within": within}


def _compared(settings: Settings, origin: Origin, run: Run, again: Run | None, place: Path) -> dict[str, Any]:
    assert run.output is not None  # noqa: S101 - something came out, or this would not be asked
    repeats = None if again is None else again.reproduced == run.reproduced
    registered = _fetched(settings, origin, place / "registered")
    pairs = [] if registered is None else comparing.differing(registered, run.output)
    files = {
        "kept": registered is not None,
        "different": [comparing.described(pair) for pair in pairs[: comparing.MOST_FILES]],
        "more": max(0, len(pairs) - comparing.MOST_FILES),
    }
    return {"files": files, "repeats": repeats, "causes": causes.likely(_looked(origin, run, pairs, repeats))}


def _looked(origin: Origin, run: Run, pairs: list[Pair], repeats: bool | None) -> Looked:
    job = origin.job
    return Looked(
        pairs=pairs,
        trained=Window(job.started_at or job.created_at, job.finished_at or job.updated_at),
        reproduced=Window(run.started_at, run.finished_at),
        places=[str(run.folder)],
        machine=platform.node(),
        environment=None if origin.environment is None else causes.differences(origin.environment, run.environment),
        repeats=repeats,
        mentions=mentions(run.folder / "code", job.spec.entry_point) if job.spec.entry_point else {},
    )


def _fetched(settings: Settings, origin: Origin, destination: Path) -> Path | None:
    uri, checksum = origin.artifact.artifact_uri, origin.artifact.checksum
    scratch.remove(destination)  # what a killed call left there
    try:
        artifact_store.fetch(artifact_store.location_of(settings, uri), uri, checksum, destination)
    except ArtifactMissing:
        return None  # it was pruned; that the digests differ is known all the same
    return destination


def _kept_log(settings: Settings, run: Run) -> str | None:
    if run.log is None:
        return None
    return artifact_store.put_bytes(artifact_store.location(settings), run.log.read_bytes(), "logs", ".log")
