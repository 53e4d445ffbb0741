"""The options that say how an artifact is measured, made into an evaluation spec: for `aiinfra evaluate` and `python -m flows.evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.typed import Pairs, checked, dataset, json_file, values
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.training import code as training_code

_FIELDS = {str(field.alias): name for name, field in EvaluationSpec.model_fields.items()}
_NEEDED = {"codeRef": "--code", "entryPoint": "--entry-point", "datasetRefs": "--dataset"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How an artifact is measured; nothing given means that nothing is run."""

    code: Annotated[str | None, Parameter(help="Where the script is: a clean git work tree, PATH@COMMIT or URL@COMMIT.")] = None
    entry_point: Annotated[str | None, Parameter(help="The script that measures.")] = None
    dataset: Annotated[
        Pairs,
        Parameter(
            metavar="DATASET", help="What it is measured on: NAME=URI#sha256=HEX; the digest may be left out of a file on this machine."
        ),
    ] = None
    param: Annotated[Pairs, Parameter(help="Something the script is told; the value is JSON or plain text.")] = None
    seed: Annotated[int | None, Parameter(help="Where all randomness starts; without one, 0.")] = None
    spec: Annotated[Path | None, Parameter(help="A JSON file of the whole spec; other options win over it.")] = None

    def asked(self) -> EvaluationSpec | None:
        """Return the spec that was typed, its code pinned to a commit; None where nothing was.

        Raises:
            BadInput: something of it is missing or wrong.
        """
        fields: dict[str, Any] = {} if self.spec is None else json_file(self.spec)
        if unknown := sorted(fields.keys() - _FIELDS.keys()):
            raise BadInput(f"{self.spec} names {unknown[0][:80]!r}, which no evaluation spec has; it has {', '.join(_FIELDS)}.")
        options = {"codeRef": self.code, "entryPoint": self.entry_point, "seed": self.seed}
        fields |= {name: value for name, value in options.items() if value is not None}
        if self.param:
            fields["parameters"] = values("--param", self.param)
        if not (fields or self.dataset):
            return None
        fields["codeRef"] = training_code.pin(str(fields.get("codeRef") or _missing("--code")))
        if self.dataset:
            fields["datasetRefs"] = [dataset(text, fields["codeRef"]) for text in self.dataset]
        if missing := [option for name, option in _NEEDED.items() if not fields.get(name)]:
            _missing(*missing)
        return checked(EvaluationSpec, **fields)


NOTHING = EvaluationOptions()


def _missing(*options: str) -> str:
    raise BadInput(f"An evaluation needs {', '.join(options)}; type them, or name a file with --spec.")
