"""The options of `python -m flows.VERB`: each function here turns them into the parameters of its flow, in the words of `aiinfra`.

What the options mean together is checked by the flow's own records; how a flow is then run is in `laptop`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.cli.evaluation_typed import NOTHING, EvaluationOptions
from aiinfra_core.cli.promotion_typed import NOTHING as ANY_WAY
from aiinfra_core.cli.promotion_typed import WayOptions
from aiinfra_core.cli.typed import Pairs, Reference, RequestedBy, RequestId, dataset, json_file, person, values
from aiinfra_core.errors import BadInput
from aiinfra_core.training import code as training_code

Parameters = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SpecOptions:
    """What a training may depend on."""

    model: Annotated[str, Parameter(help="The model's name.")]
    code: Annotated[str, Parameter(help="A clean git work tree, PATH@COMMIT or URL@COMMIT.")]
    container_digest: Annotated[str, Parameter(help="sha256:HEX of the container image this stands for.")]
    seed: Annotated[int, Parameter(help="Where all randomness starts.")]
    entry_point: Annotated[str | None, Parameter(help="The script to run; without one the artifact is derived from the inputs alone.")] = (
        None
    )
    param: Annotated[Pairs, Parameter(help="A hyperparameter; the value is JSON or plain text.")] = None
    dataset: Annotated[
        Pairs, Parameter(metavar="DATASET", help="NAME=URI#sha256=HEX; the digest may be left out of a file on this machine.")
    ] = None

    def spec(self) -> dict[str, Any]:
        """Return the training spec, its code pinned to a commit."""
        code_ref = training_code.pin(self.code)
        return {
            "model": self.model,
            "code_ref": code_ref,
            "container_digest": self.container_digest,
            "entry_point": self.entry_point,
            "hyperparams": values("--param", self.param),
            "dataset_refs": [dataset(option, code_ref) for option in self.dataset or ()],
            "seed": self.seed,
        }


def training(options: SpecOptions, *, requested_by: RequestedBy = None, request_id: RequestId = None) -> Parameters:
    """Return the parameters of a training."""
    return {"request": {"spec": options.spec(), "requested_by": person(requested_by), "request_id": request_id}}


def pipeline(
    options: SpecOptions,
    *,
    to: Annotated[str, Parameter(help="The environments, in this order; the first no ends the way.")] = "staging,prod",
    evaluation: Annotated[
        Path | None,
        Parameter(help="A JSON file of an evaluation spec; it is measured by it before each promotion, and so is what is current."),
    ] = None,
    requested_by: RequestedBy = None,
) -> Parameters:
    """Return the parameters of a pipeline."""
    environments = [name.strip() for name in to.split(",")]
    measured = None if evaluation is None else json_file(evaluation)
    return {"request": {"spec": options.spec(), "environments": environments, "evaluation": measured, "requested_by": person(requested_by)}}


def evaluation(
    artifact: Reference,
    /,
    options: EvaluationOptions = NOTHING,
    *,
    against: Annotated[str | None, Parameter(metavar="ENVIRONMENT", help="Measure what is current there by the same spec too.")] = None,
    requested_by: RequestedBy = None,
) -> Parameters:
    """Return the parameters of an evaluation."""
    spec = options.asked()
    if spec is None:
        raise BadInput("An evaluation needs --code, --entry-point and --dataset; type them, or name a file with --spec.")
    request = {"artifact": artifact, "spec": spec, "against": against, "requested_by": person(requested_by)}
    return {"request": request}


def registration(
    *,
    model: Annotated[str, Parameter(help="The model's name.")],
    uri: Annotated[str, Parameter(help="Where the bytes are in the artifact store.")],
    checksum: Annotated[str, Parameter(help="Their digest, in hex.")],
    job: Annotated[UUID | None, Parameter(help="The training job that made them; without one they have no provenance.")] = None,
    metadata: Annotated[Pairs, Parameter(help="Kept with the version; the value is JSON or plain text.")] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
) -> Parameters:
    """Return the parameters of a registration."""
    request = {
        "model": model,
        "artifact_uri": uri,
        "checksum": checksum,
        "training_job_id": job,
        "metadata": values("--metadata", metadata),
        "registered_by": person(requested_by),
        "request_id": request_id,
    }
    return {"request": request}


def reproduction(
    artifact: Reference,
    /,
    *,
    tolerance: Annotated[Pairs, Parameter(metavar="METRIC=DISTANCE", help="How far a metric may be from the recorded one.")] = None,
    reproduced_by: Annotated[str | None, Parameter(help="Who runs it; without it, the user who types.")] = None,
    request_id: RequestId = None,
) -> Parameters:
    """Return the parameters of a reproduction."""
    tolerances = values("--tolerance", tolerance)
    request = {"artifact": artifact, "tolerances": tolerances, "reproduced_by": person(reproduced_by), "request_id": request_id}
    return {"request": request}


def promotion(
    artifact: Reference,
    /,
    way: WayOptions = ANY_WAY,
    *,
    to: Annotated[str, Parameter(help="The environment, such as staging or prod.")],
    metric: Annotated[Pairs, Parameter(help="A claimed score, judged instead of what was measured.")] = None,
    evaluation: Annotated[
        str | None, Parameter(metavar="DIGEST", help="The recorded evaluation to judge; without it, the newest measured.")
    ] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
) -> Parameters:
    """Return the parameters of a promotion."""
    request = {
        "artifact": artifact,
        "environment": to,
        "evaluation": values("--metric", metric) or None,
        "judged_on": evaluation,
        "requested_by": person(requested_by),
        "request_id": request_id,
        **way.asked(),
    }
    return {"request": request}


def going_back(
    model: Annotated[str, Parameter(help="The model's name.")],
    /,
    *,
    env: Annotated[str, Parameter(help="The environment, such as prod.")],
    reason: Annotated[str, Parameter(help="Why; it is signed and kept.")],
    to: Annotated[int | None, Parameter(metavar="VERSION", help="The version to go back to; without it, the one before.")] = None,
    requested_by: RequestedBy = None,
    request_id: RequestId = None,
) -> Parameters:
    """Return the parameters of a rollback."""
    request = {"model": model, "environment": env, "to": to, "reason": reason, "request_id": request_id}
    return {"request": request | {"requested_by": person(requested_by)}}


def verification(
    artifact: Reference | None = None,
    /,
    *,
    incremental: Annotated[bool, Parameter(negative=(), help="Only what is new since the last verified checkpoint.")] = False,
) -> Parameters:
    """Return the parameters of a verification: the history and, when one is named, a model with its stored bytes."""
    return {"artifact": artifact, "incremental": incremental}


def looking() -> Parameters:
    """Return the parameters of a round of looks at the rollouts that are open: there are none."""
    return {}


def settling() -> Parameters:
    """Return the parameters of a look at the promotions that wait: there are none."""
    return {}


def delivery(
    *, at_once: Annotated[bool, Parameter(negative=(), help="Do not wait for the time of a failing sink's next try.")] = False
) -> Parameters:
    """Return the parameters of a delivery of the audit log."""
    return {"at_once": at_once}
