"""The operator's file of rollouts: what counts where, and which line is wrong."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from aiinfra_core import rollout_specs
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec, SourceKind, Unit
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.settings import Settings

LAYERS = """\
default: {weights: [100]}
environments:
  prod: {weights: [5, 50, 100], bake_minutes: 5}
models:
  rain:
    unit: user
    environments:
      prod: {bake_minutes: 30}
"""
QUERIES = """\
queries:
  gateway: {kind: prometheus, units: "up", bad: "down"}
  sums: {kind: sql, statement: "SELECT 1"}
default:
  signals: [{name: errors, kind: errors, alpha: 0.004, source: gateway}]
"""
SHIPPED = Path(__file__).parents[2] / "deployments" / "rollouts.yaml"


def _settings(folder: Path, text: str, **more: str) -> Settings:
    path = folder / "rollouts.yaml"
    path.write_text(text)
    return Settings(_env_file=None, home=folder, rollouts=path, **more)


def test_what_is_said_for_a_model_wins_over_its_environment_and_that_over_the_default(tmp_path: Path) -> None:
    settings = _settings(tmp_path, LAYERS)
    assert rollout_specs.effective(settings, "staging", "other", None) is None
    prod = rollout_specs.effective(settings, "prod", "other", None)
    rain = rollout_specs.effective(settings, "prod", "rain", None)
    assert prod == RolloutSpec(weights=(5, 50, 100), bake_minutes=5)
    assert rain == RolloutSpec(weights=(5, 50, 100), bake_minutes=30, unit=Unit.USER)
    assert rollout_specs.effective(settings, "staging", "rain", None) is None


def test_where_no_layer_says_anything_a_promotion_gets_all_traffic_at_once(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "environments:\n  prod: {}\n")
    assert rollout_specs.effective(settings, "staging", "rain", None) is None
    assert rollout_specs.effective(settings, "prod", "rain", None) == RolloutSpec()
    assert rollout_specs.effective(Settings(_env_file=None, home=tmp_path), "prod", "rain", None) is None


def test_what_a_promotion_asks_for_wins_over_the_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path, LAYERS)
    asked = RolloutSpec(weights=(50, 100))
    assert rollout_specs.effective(settings, "prod", "rain", asked) == asked
    assert rollout_specs.effective(settings, "prod", "rain", RolloutSpec(weights=(100,))) is None


REQUIRED = LAYERS.replace("  prod: {weights", "  prod: {required: true, weights", 1)


@pytest.mark.parametrize("asked", [RolloutSpec(weights=(100,)), RolloutSpec(weights=(50, 100)), RolloutSpec(weights=(1, 5, 50, 100))])
def test_where_the_operator_requires_a_rollout_nobody_asks_for_another_or_for_none(tmp_path: Path, asked: RolloutSpec) -> None:
    settings = _settings(tmp_path, REQUIRED)
    for model in ("other", "rain"):
        as_it_says = rollout_specs.effective(settings, "prod", model, None)
        assert as_it_says == rollout_specs.effective(settings, "prod", model, as_it_says)
        salted = as_it_says and as_it_says.model_copy(update={"salt": "chosen-by-me"})
        for other in (asked, salted):
            with pytest.raises(
                BadInput, match=rf"environments\.prod\.required, so {model} is rolled out there as it says .* --at-once out"
            ):
                rollout_specs.effective(settings, "prod", model, other)
    staging = rollout_specs.effective(settings, "staging", "rain", asked)
    assert staging == (None if asked.at_once else asked)


def test_a_model_that_the_operator_lets_through_at_once_may_ask_for_more_than_is_required(tmp_path: Path) -> None:
    settings = _settings(tmp_path, REQUIRED.replace("{bake_minutes: 30}", "{weights: [100]}"))
    careful = RolloutSpec(weights=(1, 100))
    assert rollout_specs.effective(settings, "prod", "rain", None) is None
    assert rollout_specs.effective(settings, "prod", "rain", careful) == careful


def test_what_the_operators_file_says_is_known_without_a_request(tmp_path: Path) -> None:
    settings = _settings(tmp_path, LAYERS)
    assert rollout_specs.of_operator(settings, "prod", "other") == RolloutSpec(weights=(5, 50, 100), bake_minutes=5)
    assert rollout_specs.of_operator(settings, "staging", "other") is None
    assert rollout_specs.of_operator(Settings(_env_file=None, home=tmp_path), "prod", "other") is None


@pytest.mark.parametrize("seconds", [1e-9, 0.000_099, 0.0])
def test_a_latency_that_every_answer_is_above_is_no_threshold(seconds: float) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to"):
        SignalSpec(name="latency", kind="latency", alpha=0.003, seconds=seconds)


def test_a_signal_has_the_query_its_source_names(tmp_path: Path) -> None:
    settings = _settings(tmp_path, QUERIES, prometheus_url="http://127.0.0.1:9090")
    spec = rollout_specs.effective(settings, "prod", "rain", None)
    assert spec is not None
    assert spec.signals[0].query is not None
    assert (spec.signals[0].query.kind, spec.signals[0].query.units) == (SourceKind.PROMETHEUS, "up")
    latency = RolloutSpec(signals=(SignalSpec(name="slow", kind="latency", alpha=0.001, source="gateway"),))
    with pytest.raises(BadInput, match="Signal slow needs buckets in the query gateway"):
        rollout_specs.effective(settings, "prod", "rain", latency)
    summed = RolloutSpec(signals=(SignalSpec(name="wrong", kind="quality", alpha=0.001, source="sums"),))
    with pytest.raises(Misconfigured, match="AI_INFRA_SIGNALS_DATABASE_URL is not set"):
        rollout_specs.effective(settings, "prod", "rain", summed)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("environments:\n  prod:\n    weights: [5, 4, 100]\n", r"line 2: environments.prod: weights must rise"),
        ("environments:\n  prod:\n    bake_minutes: -1\n", r"line 3: environments.prod.bake_minutes"),
        ("default:\n  wieghts: [5, 100]\n", r"line 2: default.wieghts"),
        ("models:\n  rain:\n    environments:\n      prod:\n        margin: 9\n", r"line 5: models.rain.environments.prod.margin"),
        ("default:\n  weights: [5, 100]\ndefault: {}\n", r"line 3: default comes twice"),
        ("environments:\n  porduction: {}\n", r"porduction, which AI_INFRA_ENVIRONMENTS does not name"),
        ("models:\n  rain:\n    environments: {porduction: {}}\n", r"porduction, which AI_INFRA_ENVIRONMENTS does not name"),
        ("default:\n  signals: [{name: e, kind: errors, alpha: 0.01, source: web}]\n", r"line 1: Signal e has the source web"),
        ("queries:\n  web: {kind: prometeus}\n", r"line 2: queries.web.kind"),
        ("queries:\n  observations: {kind: observations}\n", r"line 2: queries.observations"),
        ("environments:\n  prod:\n    required: perhaps\n", r"line 3: environments.prod.required"),
        ("environments:\n  prod: {required: true, weights: [100]}\n", r"line 2: environments.prod.required, and all traffic comes at once"),
        ("models:\n  rain:\n    required: true\n", r"line 3: models.rain.required"),
        ("- 1\n", r"line 1: it"),
    ],
)
def test_a_file_that_says_something_wrong_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        rollout_specs.check(_settings(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        rollout_specs.check(Settings(_env_file=None, home=tmp_path, rollouts=tmp_path / "none.yaml"))


def test_the_example_that_is_shipped_can_be_used_as_it_is_and_with_what_is_commented_out(tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    rollout_specs.check(_settings(tmp_path, text))
    lines = [line.removeprefix("# ") if line.startswith(("# queries", "# models", "#   ")) else line for line in text.splitlines()]
    whole = _settings(tmp_path, "\n".join(lines))
    rollout_specs.check(whole)
    spec = rollout_specs.effective(whole, "prod", "rain", None)
    assert (spec and spec.unit, spec and spec.bake_minutes) == (Unit.USER, 30)
