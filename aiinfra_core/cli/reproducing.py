"""`reproduce`: a version's training is run again here, from its recorded provenance, and what comes out is compared and signed."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core import database, reproducing
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Pairs, Reference, RequestId, checked, person, reference, values
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.reproduction import Outcome, Reproduction, ReproductionRequest
from aiinfra_core.registry import artifacts

_EXIT = {Outcome.DIFFERENT: ExitCode.REFUSED, Outcome.FAILED: ExitCode.TRAINING_FAILED}
_SAID = {
    Outcome.IDENTICAL: "identical: every byte is the same",
    Outcome.WITHIN_TOLERANCE: "within tolerance: the bytes differ, each metric is as close as was declared",
    Outcome.DIFFERENT: "different: other bytes came out",
    Outcome.FAILED: "failed: nothing came out",
}


def reproduce(
    artifact: Reference,
    /,
    *,
    tolerance: Annotated[Pairs, Parameter(metavar="METRIC=DISTANCE", help="How far a metric may be from the recorded one.")] = None,
    directory: Annotated[
        Path | None, Parameter(help="Run it in a new folder there, and leave what came out; without it, nothing is left.")
    ] = None,
    reproduced_by: Annotated[str | None, Parameter(help="Who runs it; without it, the user who types.")] = None,
    request_id: RequestId = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Run a version's training again and compare what comes out, file by file."""
    settings = running_parts()
    with database.transaction(settings) as tx:
        found = artifacts.find(tx, reference(settings, artifact))
    tolerances, by = values("--tolerance", tolerance, "quality=0.01"), person(reproduced_by)
    request = checked(ReproductionRequest, artifact=str(found.id), tolerances=tolerances, reproduced_by=by, request_id=request_id)
    note(f"Training {found.model}:{found.version} again")
    with working(f"Training {found.model}:{found.version} again") as tell:
        made = reproducing.reproduce(settings, request, on_output=tell, directory=directory)
    if as_json:
        say_json(made)
    else:
        _say(found, made, directory)
    return _EXIT.get(made.outcome, ExitCode.OK)


def _say(artifact: Artifact, made: Reproduction, directory: Path | None) -> None:
    report, name = made.report, f"{artifact.model}:{artifact.version}"
    say(f"{name} reproduced, {_SAID[made.outcome]}")
    say_fields(
        {
            "registered": artifact.checksum,
            "came out": made.reproduced_checksum,
            "error": report["error"],
            "trained by": report["trainedBy"],
            "reproduced by": made.reproduced_by + ("" if report["independent"] else ", who trained it too"),
            "files": directory and directory / f"reproduction-{made.id}",
            "reproduction": made.id,
        }
    )
    _say_metrics(report["metrics"])
    _say_files(report["files"])
    for cause in report["causes"]:
        say(f"{'Cause' if cause['certainty'] == 'seen' else 'Possible cause'}, {cause['kind'].replace('_', ' ')}: {cause['says']}")
        for line in cause["code"]:
            say(f"  {line}")
    if made.outcome in (Outcome.IDENTICAL, Outcome.WITHIN_TOLERANCE):
        say_next(f"aiinfra verify {name}")


def _say_metrics(metrics: dict[str, Any]) -> None:
    apart = [(name, one) for name, one in metrics.items() if one["difference"] != 0]
    if apart:
        rows = [
            (name, one["recorded"], one["reproduced"], one["tolerance"], "within" if one["within"] else "not within") for name, one in apart
        ]
        say_table(("METRIC", "RECORDED", "REPRODUCED", "TOLERANCE", ""), rows)


def _say_files(files: dict[str, Any] | None) -> None:
    if files is None:
        return
    if not files["kept"]:
        say("The registered bytes were removed, so they cannot be compared file by file.")
    for one in files["different"]:
        where = f"from byte {one['firstDifference']}, {one['differentBytes']} bytes" if one["kind"] == "changed" else one["kind"]
        say(f"{one['name']}: {where}")
        for line in one["shown"] if one["kind"] == "changed" else ():
            say(f"  {line}")
    if files["more"]:
        say(f"and {files['more']} more files")
