"""By what a promotion earns its traffic: as its request says, else as the operator's file (`AI_INFRA_ROLLOUTS`) does, else all at once.

The file is YAML, read strictly: `queries` that signals may name as their source; what counts by `default`; what is different in
`environments`, for `models`, and for a model in its own `environments`. Only the operator says how Prometheus or a database is asked, and
where a rollout is `required`.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, Field, StrictBool, ValidationError

from aiinfra_core.domain.record import Name, Record, in_words
from aiinfra_core.domain.rollout_spec import Query, RolloutSpec, SignalKind, SignalSpec, SourceKind, Unit
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.policy import yaml_reading
from aiinfra_core.policy.yaml_reading import Place
from aiinfra_core.settings import Settings
from aiinfra_core.signals import filling

Layer = dict[str, Any]
"""Some fields of a spec; those that are not said stay as they are in the layers below."""
_SETTINGS = {SourceKind.PROMETHEUS: ("prometheus_url", "AI_INFRA_PROMETHEUS_URL")}
_SETTINGS |= {SourceKind.SQL: ("signals_database_url", "AI_INFRA_SIGNALS_DATABASE_URL")}


class _OfModel(Record):
    """What is different for a model, and for it in some environments; what else stands there are fields of a spec."""

    model_config = ConfigDict(extra="allow")
    environments: dict[Name, Layer] = Field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        """What is different everywhere."""
        return self.model_extra or {}


class _OfEnvironment(Record):
    """What is different in an environment; where it is `required` nobody may ask for another rollout, or for none."""

    model_config = ConfigDict(extra="allow")
    required: StrictBool = False

    @property
    def layer(self) -> Layer:
        """What is different there."""
        return self.model_extra or {}


class _File(Record):
    """What stands in the operator's file."""

    queries: dict[Name, Query] = Field(default_factory=dict)
    default: Layer | None = None
    environments: dict[Name, _OfEnvironment] = Field(default_factory=dict)
    models: dict[Name, _OfModel] = Field(default_factory=dict)


_NO_FILE, _NOTHING_ELSE, _OPEN = _File(), _OfModel(), _OfEnvironment()


def effective(settings: Settings, environment: str, model: str, asked: RolloutSpec | None) -> RolloutSpec | None:
    """Return by what a promotion earns its traffic, the queries of its signals filled in; None where it gets all of it at once.

    Raises:
        BadInput: what is asked for names a source there is none of, brings a query of its own, or is not what the operator requires there.
        Misconfigured: the operator's file cannot be used, or where a signal comes from is not set; names the line, or the setting.
    """
    if asked is None and settings.rollouts is None:
        return None
    file = _read(settings)
    operators = _of_file(file, environment, model)
    spec = _filled(asked, file.queries) if asked else operators
    if operators and not operators.at_once and spec != operators and file.environments.get(environment, _OPEN).required:
        raise BadInput(
            f"The operator's file of rollouts says environments.{environment}.required, so {model} is rolled out there as it says and in no"
            " other way; leave --rollout, --weights and --at-once out (over HTTP: `rollout`), or have its operator change the file."
        )
    if spec is None or spec.at_once:
        return None
    _refuse_unset(settings, spec)
    return spec


def of_operator(settings: Settings, environment: str, model: str) -> RolloutSpec | None:
    """Return what the operator's file says for a model in an environment; None where it says nothing, or all traffic at once.

    Raises:
        Misconfigured: the file cannot be used.
    """
    spec = _of_file(_read(settings), environment, model)
    return None if spec is None or spec.at_once else spec


def check(settings: Settings) -> None:
    """See that what the operator's file says can be used everywhere.

    Raises:
        Misconfigured: it cannot.
    """
    file = _read(settings)
    for environment in settings.environments:
        for model in (*file.models, ""):
            effective(settings, environment, model, None)


def _read(settings: Settings) -> _File:
    if settings.rollouts is None:
        return _NO_FILE
    try:
        file = _parsed(settings.rollouts.read_bytes(), str(settings.rollouts))
    except OSError as error:
        raise Misconfigured(f"AI_INFRA_ROLLOUTS, {settings.rollouts}, cannot be read: {error.strerror}.") from None
    except BadInput as error:
        raise Misconfigured(f"AI_INFRA_ROLLOUTS cannot be used: {error}") from None
    named = {*file.environments, *(place for model in file.models.values() for place in model.environments)}
    if unknown := sorted(named - set(settings.environments)):
        raise Misconfigured(
            f"{settings.rollouts} says something of {', '.join(unknown)}, which AI_INFRA_ENVIRONMENTS does not name;"
            f" there are {', '.join(settings.environments)}."
        )
    return file


@lru_cache(maxsize=8)
def _parsed(data: bytes, what: str) -> _File:
    written, lines = yaml_reading.read(data, what)
    try:
        file = _File.model_validate({} if written is None else written)
    except ValidationError as error:
        raise _at(what, lines, (), error) from None
    for name, query in file.queries.items():
        if SourceKind.OBSERVATIONS in (name, query.kind):
            where = f"{what}{_line(lines, ('queries', name))}: queries.{name}"
            raise BadInput(f"{where}: observations need no query; a signal has them as its source where it names no other.")
    for place, layers in _all_layers(file):
        try:
            spec = _filled(RolloutSpec.model_validate(_merged(layers)), file.queries)
            _refuse_required_nothing(file, place, spec)
        except ValidationError as error:
            raise _at(what, lines, place, error) from None
        except BadInput as error:
            raise BadInput(f"{what}{_line(lines, place)}: {error}") from None
    return file


def _refuse_required_nothing(file: _File, place: Place, spec: RolloutSpec) -> None:
    if place[0] == "environments" and spec.at_once and file.environments[str(place[1])].required:
        raise BadInput(f"environments.{place[1]}.required, and all traffic comes at once there; say weights, or leave required out.")


def _of_file(file: _File, environment: str, model: str) -> RolloutSpec | None:
    own = file.models.get(model, _NOTHING_ELSE)
    there = file.environments.get(environment)
    said = [file.default, there.layer if there else None, own.layer or None, own.environments.get(environment)]
    layers = [layer for layer in said if layer is not None]
    return _filled(RolloutSpec.model_validate(_merged(layers)), file.queries) if layers else None


def _all_layers(file: _File) -> Iterator[tuple[Place, list[Layer]]]:
    """Yield where each layer stands, and it with those that it is put on."""
    base = file.default or {}
    yield ("default",), [base]
    for environment, there in file.environments.items():
        yield ("environments", environment), [base, there.layer]
    for model, own in file.models.items():
        yield ("models", model), [base, own.layer]
        for environment, layer in own.environments.items():
            below = file.environments.get(environment, _OPEN).layer
            yield ("models", model, "environments", environment), [base, below, own.layer, layer]


def _merged(layers: Iterable[Layer]) -> Layer:
    merged: Layer = {}
    for layer in layers:
        merged |= layer
    return merged


def _filled(spec: RolloutSpec, queries: Mapping[str, Query]) -> RolloutSpec:
    """Return a spec with the operator's queries for the sources its signals name."""
    signals = tuple(_signal(signal, queries) for signal in spec.signals)
    counting_requests = [one.name for one in signals if one.query and one.query.kind is SourceKind.PROMETHEUS]
    if spec.unit is Unit.USER and counting_requests:
        raise BadInput(
            f"Signal {counting_requests[0]} comes from Prometheus, which counts requests, and the unit is user; take observations."
        )
    return spec.model_copy(update={"signals": signals})


def _signal(signal: SignalSpec, queries: Mapping[str, Query]) -> SignalSpec:
    if signal.query is not None:
        raise BadInput(f"Signal {signal.name} brings its own query; name one of the operator's as its source.")
    if signal.source == SourceKind.OBSERVATIONS:
        return signal
    query = queries.get(signal.source)
    if query is None:
        there_are = ", ".join([SourceKind.OBSERVATIONS.value, *sorted(queries)])
        raise BadInput(f"Signal {signal.name} has the source {signal.source}, which is not one of: {there_are}.")
    if lacking := [name for name in _needed(signal.kind, query.kind) if getattr(query, name) is None]:
        raise BadInput(f"Signal {signal.name} needs {' and '.join(lacking)} in the query {signal.source}.")
    if unknown := filling.unknown_in(query):
        raise BadInput(f"The query {signal.source} has {{{unknown[0]}}}, which nothing is filled in for; docs/signals.md says what is.")
    if signal.kind is SignalKind.LATENCY and query.kind is SourceKind.SQL and signal.seconds is None:
        raise BadInput(f"Signal {signal.name} needs `seconds`: out of a database no quantile of the champion's can be frozen.")
    return signal.model_copy(update={"query": query})


def _needed(signal: SignalKind, source: SourceKind) -> tuple[str, ...]:
    if source is SourceKind.SQL:
        return ("statement",)
    return ("buckets",) if signal is SignalKind.LATENCY else ("units", "bad")


def _refuse_unset(settings: Settings, spec: RolloutSpec) -> None:
    for signal in spec.signals:
        attribute, name = _SETTINGS.get(signal.query.kind, ("", "")) if signal.query else ("", "")
        if attribute and getattr(settings, attribute) is None:
            raise Misconfigured(f"Signal {signal.name} comes from {signal.source}, and {name} is not set; set it, or take another.")


def _at(what: str, lines: Mapping[Place, int], place: Place, error: ValidationError) -> BadInput:
    first = error.errors(include_input=False, include_url=False)[0]
    field = (*place, *first["loc"])
    named = ".".join(map(str, field)) or "it"
    return BadInput(f"{what}{_line(lines, field)}: {named}: {in_words(first)}.")


def _line(lines: Mapping[Place, int], place: Place) -> str:
    found = next((lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in lines), None)
    return f", line {found}" if found else ""
