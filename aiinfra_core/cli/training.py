"""`train`: options, or a spec file, into a training spec; then the training itself, its output shown as progress."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.jobs_shown import say_job
from aiinfra_core.cli.output import AsJson, note, say_json, working
from aiinfra_core.cli.registry import Server, registry_at
from aiinfra_core.cli.typed import Pairs, RequestedBy, RequestId, checked, dataset, json_file, values
from aiinfra_core.domain.training import JobStatus, TrainingSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.training import code as training_code
from aiinfra_core.wire.records import SentJob

_NEEDED = {"model": "--model", "codeRef": "--code", "containerDigest": "--container-digest"}


def train(
    *,
    model: Annotated[str | None, Parameter(help="The model's name.")] = None,
    code: Annotated[str | None, Parameter(help="A clean git work tree, PATH@COMMIT or URL@COMMIT.")] = None,
    entry_point: Annotated[
        str | None, Parameter(help="The script to run; without one the artifact is derived from the inputs alone.")
    ] = None,
    container_digest: Annotated[str | None, Parameter(help="sha256:HEX of the container image this stands for.")] = None,
    param: Annotated[Pairs, Parameter(help="A hyperparameter; the value is JSON or plain text.")] = None,
    dataset: Annotated[
        Pairs,
        Parameter(metavar="DATASET", help="NAME=URI#sha256=HEX, or NAME,URI,HEX; the digest may be left out of a file on this machine."),
    ] = None,
    spec: Annotated[Path | None, Parameter(help="A JSON file of the whole spec; other options win over it.")] = None,
    seed: Annotated[int | None, Parameter(help="Without one, a seed is drawn and told.")] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
    no_wait: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Do not wait: leave it to a runner, or to the service's.")
    ] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Train a model; a training that fails is recorded and ends in an exit code of its own."""
    options = {"model": model, "codeRef": code, "entryPoint": entry_point, "containerDigest": container_digest, "seed": seed}
    wanted = _spec(options, values("--param", param), dataset or (), {} if spec is None else json_file(spec))
    with registry_at(server) as registry:
        begun = registry.now()
        note(f"Training {wanted.model} from {wanted.code_ref} with seed {wanted.seed}")
        with working(f"Training {wanted.model}") as tell:
            job = registry.train(wanted, requested_by=requested_by, request_id=request_id, wait=not no_wait, tell=tell)
    if as_json:
        say_json(job)
    else:
        say_job(job)
    if job.finished_at is not None and job.finished_at < begun:
        _note_recorded(job, job.finished_at)
    return ExitCode.TRAINING_FAILED if job.status == JobStatus.FAILED else ExitCode.OK


def _note_recorded(job: SentJob, finished_at: datetime) -> None:
    anew = "; to train it anew, add --request-id NAME" if job.status == JobStatus.FAILED else ""
    note(f"This training was done before and ended {finished_at:%Y-%m-%d %H:%M:%S} UTC{anew}.")


def _spec(options: dict[str, Any], params: dict[str, Any], datasets: Sequence[str], in_file: dict[str, Any]) -> TrainingSpec:
    fields = in_file | {name: value for name, value in options.items() if value is not None}
    if missing := [option for name, option in _NEEDED.items() if not fields.get(name)]:
        raise BadInput(f"A training needs {', '.join(missing)}; type them, or name a file with --spec.")
    fields["codeRef"] = training_code.pin(str(fields["codeRef"]))
    if params:
        fields["hyperparams"] = params
    if datasets:
        fields["datasetRefs"] = [dataset(text, fields["codeRef"]) for text in datasets]
    return checked(TrainingSpec, **{"seed": secrets.randbelow(2**32)} | fields)
