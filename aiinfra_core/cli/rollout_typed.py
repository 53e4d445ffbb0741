"""How a rollout is typed: its spec as a file or as weights alone, and which one is meant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.cli.registry import Registry
from aiinfra_core.cli.typed import checked
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import BadInput, NotFound
from aiinfra_core.policy import yaml_reading

SpecFile = Annotated[Path | None, Parameter(metavar="FILE", help="How it earns its traffic: a rollout's spec, YAML or JSON.")]
Weights = Annotated[
    str | None, Parameter(metavar="5,25,100", help="The challenger's shares in per cent, step by step; the rest by default.")
]
WhichRollout = Annotated[str, Parameter(help="The rollout's id, or MODEL@ENVIRONMENT for the one that is open there, else the last.")]

_OPERATORS = {"queries", "default", "environments", "models"}  # what stands in an operator's file, and never in a spec


def spec_typed(file: Path | None, weights: str | None) -> RolloutSpec | None:
    """Return the spec that was typed, None where none was.

    Raises:
        BadInput: the file cannot be read, or holds no spec; or the weights are none.
    """
    if file is None and weights is None:
        return None
    fields = _in_file(file) if file else {}
    return checked(RolloutSpec, **fields | ({"weights": _numbers(weights)} if weights else {}))


def rollout_id(registry: Registry, typed: str) -> UUID:
    """Return the id of the rollout that is meant.

    Raises:
        BadInput: it is neither an id nor MODEL@ENVIRONMENT.
        NotFound: there is none.
    """
    model, at, environment = typed.partition("@")
    if at:
        found = registry.rollouts(environment, model, False, 1)
        if not found:
            raise NotFound(f"There is no rollout of {model} in {environment}; see: aiinfra rollout list")
        return found[0].id
    try:
        return UUID(typed)
    except ValueError:
        raise BadInput(f"{typed!r} is no rollout; write its id, or MODEL@ENVIRONMENT, as aiinfra rollout list shows them.") from None


def _in_file(file: Path) -> dict[str, Any]:
    try:
        content, _ = yaml_reading.read(file.read_bytes(), str(file))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{file} holds no rollout; write its fields by name, such as weights: [5, 25, 100].")
    if _OPERATORS & content.keys():
        raise BadInput(f"{file} is an operator's file: set AI_INFRA_ROLLOUTS to it, or write its fields (weights, signals, ...) alone.")
    return content


def _numbers(typed: str) -> Sequence[float]:
    try:
        return [float(one) for one in typed.split(",")]
    except ValueError:
        raise BadInput(f"--weights takes per cents like 5,25,50,100, not {typed!r}.") from None
