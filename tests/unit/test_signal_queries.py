"""The operator's queries: what stands in braces is filled in, and what nothing is known for is found before anything is rolled out."""

from pathlib import Path

import pytest

from aiinfra_core import rollout_specs, signals
from aiinfra_core.domain.rollout import Arm, Heard
from aiinfra_core.domain.rollout_spec import Query, SourceKind, Unit
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings
from aiinfra_core.signals import filling
from tests.simulators.asked_signals import CHALLENGER, CHAMPION, ERRORS, at, rollout

SPEC = "queries: {{one: {query}}}\nenvironments: {{prod: {{signals: [{{name: slow, kind: {kind}, alpha: 0.004, source: one}}]}}}}\n"


def test_each_arm_has_its_own_selector_and_promqls_own_braces_stay() -> None:
    selector = 'served{arm="{arm}", by="{promotion}", model="{model}", env="{environment}", in="{rollout}", path=~"/[a-z]{2,}"}'
    assert filling.for_arm(selector, rollout(ERRORS), Arm.CHALLENGER) == (
        f'served{{arm="challenger", by="{CHALLENGER}", model="rainfall", env="prod", in="{rollout(ERRORS).id}", path=~"/[a-z]{{2,}}"}}'
    )
    assert str(CHAMPION) in filling.for_arm(selector, rollout(ERRORS), Arm.CHAMPION)


def test_a_statement_has_parameters_where_braces_were_and_its_own_signs_of_per_cent() -> None:
    text, values = filling.for_database("SELECT '5%' WHERE m = {model} AND t > {since} AND s > {seconds}", rollout(ERRORS), 0.5, at(1))
    assert text == "SELECT '5%%' WHERE m = %(model)s AND t > %(since)s AND s > %(seconds)s"
    assert (values["model"], values["seconds"], values["since"]) == ("rainfall", 0.5, filling.counted_since(rollout(ERRORS)))


def test_braces_that_nothing_is_filled_in_for_are_found() -> None:
    prometheus = Query(kind=SourceKind.PROMETHEUS, units='a{b="{arm}"}', bad='a{b="{since}", c="{password}"}')
    assert filling.unknown_in(prometheus) == ["password", "since"]
    assert filling.unknown_in(Query(kind=SourceKind.SQL, statement="SELECT {since}, {arm}")) == ["arm"]


def test_requests_are_not_counted_where_users_are(tmp_path: Path) -> None:
    file = tmp_path / "rollouts.yaml"
    file.write_text(SPEC.format(query="{kind: prometheus, units: a, bad: b}", kind="errors").replace("prod: {", "prod: {unit: user, "))
    with pytest.raises(Misconfigured, match="which counts requests, and the unit is user"):
        rollout_specs.check(Settings(rollouts=file, prometheus_url="http://prometheus.example"))
    spec = rollout(ERRORS).spec.model_copy(update={"unit": Unit.USER})
    reading = signals.read(Settings(prometheus_url="http://prometheus.example"), rollout(ERRORS, spec=spec), ERRORS, None, at(10))
    assert (reading.heard, reading.reason) == (Heard.MALFORMED, "Prometheus counts requests, and this rollout counts users")


@pytest.mark.parametrize(
    ("query", "kind", "why"),
    [
        ("{kind: prometheus, units: 'a{m=\"{modl}\"}', bad: 'b'}", "errors", "has {modl}, which nothing is filled in for"),
        ("{kind: sql, statement: 'SELECT {modl}'}", "errors", "has {modl}, which nothing is filled in for"),
        ("{kind: sql, statement: 'SELECT {model}'}", "latency", "Signal slow needs `seconds`"),
    ],
)
def test_a_file_with_a_query_that_could_never_be_asked_is_refused(tmp_path: Path, query: str, kind: str, why: str) -> None:
    file = tmp_path / "rollouts.yaml"
    file.write_text(SPEC.format(query=query, kind=kind))
    settings = Settings(rollouts=file, prometheus_url="http://prometheus.example", signals_database_url="postgresql://db.example/one")
    with pytest.raises(Misconfigured) as refused:
        rollout_specs.check(settings)
    assert why in str(refused.value)
