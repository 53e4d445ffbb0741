"""What a policy file may say, and the policy it makes for one environment and model. Where files are found is in `files`."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Conditions, Part, Stage
from aiinfra_core.domain.record import Name
from aiinfra_core.errors import BadInput
from aiinfra_core.policy import yaml_reading
from aiinfra_core.policy.yaml_reading import Place
from aiinfra_core.rules import expressions, judging
from aiinfra_core.rules.document import On, Policy, Rule

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
SETTINGS = ("AI_INFRA_MIN_PROMO_SCORE",)
"""The settings that a parameter may take its value from, written `{setting: NAME}`."""
MOST_RULES = 200
PolicyId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Answers(_Written):
    """The ids a yes and a no carry as `policyId`."""

    allow: PolicyId
    deny: PolicyId


class WrittenRule(_Written):
    """A rule as it is written; see `rules.document.Rule`."""

    id: Name
    expression: str = Field(min_length=1, max_length=4000)
    reason: str = Field(min_length=1, max_length=1000)
    missing: str | None = Field(default=None, max_length=1000)
    holds: str | None = Field(default=None, max_length=1000)
    stage: Literal["request", "apply"] = "request"
    on: Literal["promotion", "rollback", "both"] = "promotion"


class Approvals(_Written):
    """How many owners of each role have to agree, how long a promotion waits for them and how long an approval counts."""

    roles: dict[Name, Annotated[int, Field(ge=1, le=100)]] | None = None
    pending_hours: float | None = Field(default=None, gt=0, le=8784, strict=False, allow_inf_nan=False)
    approval_hours: float | None = Field(default=None, gt=0, le=8784, strict=False, allow_inf_nan=False)


class Separation(_Written):
    """Who may not agree, and who may not ask."""

    approver_is_not: list[Literal["trainer", "registrar", "evaluator", "requester"]] | None = None
    requester_is_not: list[Literal["trainer", "registrar", "evaluator"]] | None = None


class Rollbacks(_Written):
    """What is asked for besides where a person has a model go back."""

    approvals: Approvals = Approvals()


class Layer(_Written):
    """What can be said of a policy as a whole, for an environment, or for a model."""

    parameters: dict[Identifier, Any] = Field(default_factory=dict)
    rules: list[WrittenRule] = Field(default_factory=list, max_length=MOST_RULES)
    approvals: Approvals = Approvals()
    separation_of_duties: Separation = Separation()
    rollback: Rollbacks = Rollbacks()


class Override(Layer):
    """What is different for an environment or a model: rules are added, or replace those of the same id; `without` leaves some out."""

    without: list[Name] = Field(default_factory=list)


class Case(_Written):
    """What the policy has to say about some inputs, which are merged over a sample; `rule` is the first that is no yes."""

    name: str = Field(min_length=1)
    inputs: dict[str, Any] = Field(default_factory=dict)
    expect: Literal["yes", "no"]
    rule: Name | None = None
    stage: Literal["request", "apply"] = "request"


class PolicyFile(Layer):
    """A whole policy file; `sample` is what the inputs of its tests have in common."""

    name: Name
    version: str = Field(min_length=1, max_length=64)
    description: str = ""
    answers: Answers | None = None
    environments: dict[Name, Override] = Field(default_factory=dict)
    models: dict[Name, Override] = Field(default_factory=dict)
    sample: dict[str, Any] = Field(default_factory=dict)
    tests: list[Case] = Field(default_factory=list)


def read(data: bytes, what: str) -> PolicyFile:
    """Read a policy file and everything it could become.

    Raises:
        BadInput: it says something that is no policy; the message names the line and the field.
    """
    values, lines = yaml_reading.read(data, what)
    if not isinstance(values, dict):
        raise BadInput(f"{what} is not a policy: it has no name, version and rules.")
    try:
        file = PolicyFile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise BadInput(_at(what, lines, first["loc"], first["msg"])) from None
    for place, problem in _problems(file):
        raise BadInput(_at(what, lines, place, problem))
    return file


def effective(file: PolicyFile, source: bytes, environment: str, model: str, known: Mapping[str, Any]) -> Policy:
    """Return the policy that a file makes for a model in an environment: what is said for the model wins over what is for the environment.

    Args:
        file: as it was read.
        source: its bytes.
        environment: where the model is to become current.
        model: its name.
        known: the values of settings that parameters may name.
    """
    layers = [file, *_layers(file, environment, model)]
    answers = file.answers or Answers(allow=f"{file.name}-allow", deny=f"{file.name}-deny")
    return Policy(
        name=file.name,
        version=file.version,
        source_digest=sha256_hex(source),
        allow_id=answers.allow,
        deny_id=answers.deny,
        parameters={name: _from_setting(value, known) for layer in layers for name, value in layer.parameters.items()},
        rules=tuple(_rules(layers)),
        conditions=_conditions(layers, lambda layer: layer.approvals),
        rollback=_of_rollbacks(layers),
        requester_is_not=_parts(_last(layers, lambda layer: layer.separation_of_duties.requester_is_not, [])),
    )


def _layers(file: PolicyFile, environment: str, model: str) -> list[Override]:
    return [layer for layer in (file.environments.get(environment), file.models.get(model)) if layer is not None]


def _conditions(layers: list[Layer], said: Callable[[Layer], Approvals]) -> Conditions:
    return Conditions(
        approvals=_last(layers, lambda layer: said(layer).roles, {}),
        pending_hours=_last(layers, lambda layer: said(layer).pending_hours, Conditions().pending_hours),
        approval_hours=_last(layers, lambda layer: said(layer).approval_hours, Conditions().approval_hours),
        approver_is_not=_parts(_last(layers, lambda layer: layer.separation_of_duties.approver_is_not, [])),
    )


def _of_rollbacks(layers: list[Layer]) -> Conditions | None:
    """Return what is asked for besides of rollbacks, None where no layer says anything of them."""
    is_said = any(layer.rollback != Rollbacks() for layer in layers)
    return _conditions(layers, lambda layer: layer.rollback.approvals) if is_said else None


def _rules(layers: list[Layer]) -> list[Rule]:
    rules: dict[str, Rule] = {}
    for layer in layers:
        for left_out in layer.without if isinstance(layer, Override) else ():
            rules.pop(left_out, None)
        rules |= {rule.id: Rule(**(rule.model_dump() | {"stage": Stage(rule.stage), "on": On(rule.on)})) for rule in layer.rules}
    return list(rules.values())


def _last(layers: list[Layer], said: Callable[[Layer], Any], otherwise: Any) -> Any:
    return next((value for layer in reversed(layers) if (value := said(layer)) is not None), otherwise)


def _parts(names: list[str]) -> tuple[Part, ...]:
    return tuple(dict.fromkeys(Part(name) for name in names))


def _from_setting(value: Any, known: Mapping[str, Any]) -> Any:
    return known[value["setting"]] if isinstance(value, dict) and "setting" in value else value


def _problems(file: PolicyFile) -> Iterator[tuple[Place, str]]:
    places: list[tuple[Place, Layer]] = [((), file)]
    places += [(("environments", name), layer) for name, layer in file.environments.items()]
    places += [(("models", name), layer) for name, layer in file.models.items()]
    for place, layer in places:
        for number, rule in enumerate(layer.rules):
            yield from _problems_of_rule((*place, "rules", number), rule, [other.id for other in layer.rules[:number]])
        for name, value in layer.parameters.items():
            yield from _problems_of_parameter((*place, "parameters", name), value)
        for name in layer.without if isinstance(layer, Override) else ():
            if name not in {rule.id for _, other in places for rule in other.rules}:
                yield (*place, "without"), f"there is no rule {name}"
    yield from _too_few_or_many_rules(file)
    for number, inputs in enumerate((file.sample, *(case.inputs for case in file.tests))):
        if not isinstance(inputs.get("parameters", {}), dict):
            yield ("tests", number - 1, "inputs") if number else ("sample",), "its parameters are no names with values"


def _problems_of_rule(place: Place, rule: WrittenRule, before: list[str]) -> Iterator[tuple[Place, str]]:
    if rule.id in before:
        yield (*place, "id"), f"there are two rules {rule.id}"
    if problem := expressions.why_not_readable(rule.expression):
        yield (*place, "expression"), f"this is not CEL: {problem}"
    else:
        for name in judging.unknown_variables(rule.expression):
            yield (*place, "expression"), f"there is no input {name}; there are {', '.join(sorted(judging.INPUTS))}"
    for name in judging.unknown_names(Rule(id=rule.id, expression="true", reason=rule.reason, missing=rule.missing, holds=rule.holds)):
        yield (*place, "reason"), f"there is no input {name} to fill in"


def _problems_of_parameter(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, "this is not a finite number"
    if isinstance(value, dict) and "setting" in value and (len(value) > 1 or value["setting"] not in SETTINGS):
        yield place, f"a parameter is taken from a setting as {{setting: NAME}}, and can be from {', '.join(SETTINGS)}"
    try:
        canonical_json.dumps(value)
    except BadInput as error:
        yield place, str(error).removesuffix(".")


def _too_few_or_many_rules(file: PolicyFile) -> Iterator[tuple[Place, str]]:
    for environment in (*file.environments, ""):
        for model in (*file.models, ""):
            rules = _rules([file, *_layers(file, environment, model)])
            about_promotions = any(rule.is_about(rollback=False) for rule in rules)
            if not about_promotions or len(rules) > MOST_RULES:
                where = f"{f' in {environment}' if environment else ''}{f' for {model}' if model else ''}"
                yield ("rules",), f"there are more than {MOST_RULES} rules{where}" if about_promotions else f"no rule is left{where}"


def _at(what: str, lines: Mapping[Place, int], place: tuple[int | str, ...], problem: str) -> str:
    known = next(place[:end] for end in range(len(place), -1, -1) if place[:end] in lines)
    field = ".".join(str(part) for part in place)
    return f"{what}, line {lines[known]}{f', {field}' if field else ''}: {problem[:1].lower()}{problem[1:]}."
