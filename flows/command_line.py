"""The options of `python -m flows.VERB`: each function here turns friendly options into the parameters of its flow.

What the options mean together is checked by the flow's own records; how a flow is then run is in `laptop`.
"""

import getpass
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.errors import BadInput
from aiinfra_core.training import code as training_code

Parameters = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SpecOptions:
    """What a training may depend on."""

    model: Annotated[str, Parameter(help="Name of the model.")]
    code: Annotated[str, Parameter(help="Git work tree without uncommitted changes, or PATH@COMMIT or URL@COMMIT.")] = "."
    entry_point: Annotated[str | None, Parameter(help="Script in it to run; without one the artifact derives from the inputs alone.")] = (
        None
    )
    container_digest: Annotated[str, Parameter(help="Container the training is declared to run in, sha256:HEX.")]
    seed: Annotated[int, Parameter(help="Where all randomness starts.")]
    hyperparams: Annotated[str, Parameter(help="A JSON object.")] = "{}"
    dataset: Annotated[
        tuple[str, ...], Parameter(help="NAME=URI@SHA256, or NAME=FILE to hash a file that is here; repeat it for more.", negative="")
    ] = ()

    def spec(self) -> dict[str, Any]:
        """Return the training spec, its code pinned to a commit."""
        return {
            "model": self.model,
            "code_ref": training_code.pin(self.code),
            "container_digest": self.container_digest,
            "entry_point": self.entry_point,
            "hyperparams": _json_object("--hyperparams", self.hyperparams),
            "dataset_refs": [_dataset(option) for option in self.dataset],
            "seed": self.seed,
        }


def training(options: SpecOptions, *, requested_by: str | None = None, request_id: str | None = None) -> Parameters:
    """Return the parameters of a training.

    Args:
        options: what it may depend on.
        requested_by: Who asks for it; by default the user of this computer.
        request_id: Your own name for this request; the same one is done once.
    """
    return {"request": {"spec": options.spec(), "requested_by": requested_by or _user(), "request_id": request_id}}


def pipeline(options: SpecOptions, *, environments: str = "staging,prod", requested_by: str | None = None) -> Parameters:
    """Return the parameters of a pipeline.

    Args:
        options: what the training may depend on.
        environments: Where the model is promoted to, in this order; the first no ends the way.
        requested_by: Who asks for it; by default the user of this computer.
    """
    names = [name.strip() for name in environments.split(",")]
    return {"request": {"spec": options.spec(), "environments": names, "requested_by": requested_by or _user()}}


def registration(
    *,
    model: str,
    artifact_uri: str,
    checksum: str,
    training_job_id: UUID | None = None,
    metadata: str = "{}",
    requested_by: str | None = None,
    request_id: str | None = None,
) -> Parameters:
    """Return the parameters of a registration.

    Args:
        model: Name of the model.
        artifact_uri: Where the bytes are in the artifact store.
        checksum: Their digest in hex.
        training_job_id: The job that made them; without one they are registered as without provenance.
        metadata: A JSON object kept with the version.
        requested_by: Who registers it; by default the user of this computer.
        request_id: Your own name for this request; the same one is done once.
    """
    request = {
        "model": model,
        "artifact_uri": artifact_uri,
        "checksum": checksum,
        "training_job_id": training_job_id,
        "metadata": _json_object("--metadata", metadata),
        "registered_by": requested_by or _user(),
        "request_id": request_id,
    }
    return {"request": request}


def promotion(
    artifact: str, environment: str, *, evaluation: str | None = None, requested_by: str | None = None, request_id: str | None = None
) -> Parameters:
    """Return the parameters of a promotion.

    Args:
        artifact: MODEL, MODEL:VERSION, MODEL@ENVIRONMENT or an artifact id.
        environment: Where it is to become current.
        evaluation: A JSON object such as '{"quality": 0.9}', judged as your claim; without one, what its training measured.
        requested_by: Who asks for it; by default the user of this computer.
        request_id: Your own name for this request; the same one is done once.
    """
    request = {
        "artifact": artifact,
        "environment": environment,
        "evaluation": None if evaluation is None else _json_object("--evaluation", evaluation),
        "requested_by": requested_by or _user(),
        "request_id": request_id,
    }
    return {"request": request}


def verification(artifact: str | None = None) -> Parameters:
    """Return the parameters of a verification.

    Args:
        artifact: MODEL, MODEL:VERSION, MODEL@ENVIRONMENT or an artifact id, to check it and its stored bytes too.
    """
    return {"artifact": artifact}


def _dataset(option: str) -> dict[str, str]:
    name, named, place = option.partition("=")
    if not named:
        raise BadInput(f"--dataset {option} names no source; write NAME=URI@SHA256 or NAME=FILE.")
    uri, pinned, digest = place.rpartition("@")
    if pinned:
        return {"name": name, "uri": uri, "sha256": digest}
    file = Path(place).expanduser().resolve()
    if not file.is_file():
        raise BadInput(f"There is no file {file} to hash; write NAME=URI@SHA256 for a dataset that is elsewhere.")
    with file.open("rb") as content:
        return {"name": name, "uri": str(file), "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{option} is not JSON ({error}); write an object such as '{{\"quality\": 0.9}}'.") from error
    if not isinstance(value, dict):
        raise BadInput(f"{option} is JSON but no object; write one such as '{{\"quality\": 0.9}}'.")
    return value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise BadInput("This user has no name; say who asks with --requested-by.") from error
