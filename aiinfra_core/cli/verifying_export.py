"""`verify DIR`: every step in a line, what was proven in a sentence, what to keep.

Needs no settings, no database and no network, and imports none of theirs.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import say, say_fields, say_json, say_table, working
from aiinfra_core.errors import AiInfraError, BadInput
from aiinfra_core.evidence import bundle, checkpoint, trust_root, tuf_metadata
from aiinfra_core.evidence.verification.report import Outcome
from aiinfra_core.evidence.verification.verify import Question, Report, verify

_SHOWN = {Outcome.PASS: "ok", Outcome.FAIL: "FAILED", Outcome.NOT_APPLICABLE: "-"}
_MAX_AGE = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MOST_BYTES = 4 * 2**20


def verify_export(
    folder: Path,
    pinned: Path,
    last_checkpoint: Path | None,
    last_targets: Path | None,
    trust: Path | None,
    current: bool,
    max_age: str | None,
    as_json: bool,
) -> ExitCode:
    """Check an export directory and print what was found.

    Raises:
        BadInput: a file cannot be read, is not what it should be, or an option makes no sense.
    """
    if max_age is not None and not current:
        raise BadInput("--max-age is for --current: how old may what is current be?")
    question = Question(
        pinned=_read(pinned, "root of trust"),
        now=datetime.now(UTC),
        last_checkpoint=None if last_checkpoint is None else _read(last_checkpoint, "checkpoint"),
        last_targets=None if last_targets is None else _read(last_targets, "targets.json"),
        max_age=_duration(max_age or "24h") if current else None,
        trust=None if trust is None else _trust_files(trust),
    )
    _check_given(question)
    with working(f"Verifying {folder}"):
        report = verify(bundle.read(folder), question)
    if as_json:
        say_json(_as_json(folder, report))
    else:
        _say(folder, report)
    return ExitCode.OK if report.passed else ExitCode.EVIDENCE_BROKEN


def _as_json(folder: Path, report: Report) -> dict[str, Any]:
    return {
        "verified": report.passed,
        "directory": str(folder),
        "subject": report.about(),
        "steps": [step.as_json() for step in report.steps.values()],
        "keep": _keep(folder) if report.passed else None,
    }


def _say(folder: Path, report: Report) -> None:
    rows = [(step.number, step.name, _SHOWN[step.outcome], _found(step.place, step.detail)) for step in report.steps.values()]
    say_table(("STEP", "CHECK", "", "FOUND"), rows)
    about = report.about()
    if about is None:
        failed = [step for step in report.steps.values() if step.failed]
        where = ", ".join(f"{step.number} ({step.name})" for step in failed) or "one that must pass"
        return say(f"{folder} does not verify; believe nothing it says. Failed: step {where}.")
    say(_proven(about))
    say("Keep for next time:")
    keep = _keep(folder)
    return say_fields({"--last-checkpoint": keep["lastCheckpoint"], "--last-targets": keep["lastTargets"]})


def _found(place: str | None, detail: str) -> str:
    return detail if place is None else f"{place}: {detail}"


def _proven(about: dict[str, Any]) -> str:
    what = f"{about['model']}:{about['version']} is the model that was registered, byte for byte"
    where = f", and was current in {about['environment']} (sequence {about['sequence']})" if about["environment"] else ""
    trained = "" if about["provenance"] == "trained" else " It was trained elsewhere: no provenance."
    return f"Proven: {what}{where}, as of log entry {about['log']['size']} at {about['at']}.{trained}"


def _keep(folder: Path) -> dict[str, str]:
    return {"lastCheckpoint": str(folder / bundle.CHECKPOINT), "lastTargets": str(folder / bundle.TRUST / tuf_metadata.TARGETS)}


def _check_given(question: Question) -> None:
    """Tell a wrong file from one that does not verify: the first is a slip of whoever typed.

    Raises:
        BadInput: a file is not of the kind it was given as.
    """
    try:
        tuf_metadata.parse_root(question.pinned, "The file given as --trust-root")
        if question.last_checkpoint is not None:
            checkpoint.parse(question.last_checkpoint)
        if question.last_targets is not None:
            trust_root.targets_version(question.last_targets)
    except AiInfraError as error:
        raise BadInput(f"A file that was given is not what it should be: {error}") from None


def _duration(text: str) -> timedelta:
    match = _MAX_AGE.fullmatch(text)
    if match is None:
        raise BadInput(f"--max-age takes a number with m, h or d, such as 24h, not {text!r}.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _trust_files(folder: Path) -> dict[str, bytes]:
    names = [name for name in sorted(path.name for path in folder.glob("*.json")) if tuf_metadata.is_trust_file(name)]
    if not names:
        raise BadInput(f"{folder} is no trust directory: it holds no N.root.json, targets.json or trust.json.")
    return {name: _read(folder / name, name) for name in names}


def _read(path: Path, what: str) -> bytes:
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a directory; give the {what} file itself.")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"The {what} {path} cannot be read: {error.strerror}.") from None
    if len(data) > _MOST_BYTES:
        raise BadInput(f"{path} is too large to be a {what}.")
    return data
