import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.domain.promotion import Conditions, Part, Stage
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.policy import cases, files, policy_file, sample, yaml_reading
from aiinfra_core.rules import judging
from aiinfra_core.settings import Settings

HEAD = "name: tried\nversion: '1'\n"
RULES = "rules:\n  - {id: a, expression: 'true', reason: r}\n"
SETTINGS = Settings.model_validate({"home": "/nowhere"})


def many(rules: int, name: str) -> str:
    return "rules:\n" + "".join(f"  - {{id: {name}-{at}, expression: 'true', reason: r}}\n" for at in range(rules))


def refused(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        policy_file.read(text.encode(), "p.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD + "name: again\n" + RULES, "p.yaml, line 3: name comes twice."),
        (HEAD + "rules:\n  - {id: a, expression: 'true', id: b, reason: r}\n", "line 4: id comes twice"),
        (HEAD + RULES + "parameters: &a {x: 1}\n", "line 5: anchors and aliases"),
        (HEAD + RULES + "parameters:\n  x: *y\n", "line 6: anchors and aliases"),
        (HEAD + RULES + "parameters:\n  x: !!python/object/apply:os.system [id]\n", "line 6: the tag"),
        (HEAD + RULES + "parameters:\n  x: !!str 1\n", "line 6: the tag"),
        (HEAD + RULES + "parameters:\n  x: 1e999\n", "line 6: 1e999 is too large"),
        (HEAD + RULES + "parameters:\n  ? [a]\n  : 1\n", "a name has to be a text"),
        (HEAD + RULES + "parametres: {}\n", "line 5, parametres: extra inputs are not permitted."),
        (HEAD + RULES + "---\nname: second\n", "is not YAML"),
        (HEAD + "rules: [\n", "is not YAML"),
        (HEAD + "rules: []\n", "no rule is left"),
        (HEAD, "no rule is left"),
        ("- a\n", "is not a policy"),
        ("", "is not a policy"),
        ("name: tried\nversion: 1\n" + RULES, "line 2, version: input should be a valid string"),
        (HEAD + "rules:\n  - {id: a, expression: true, reason: r}\n", "line 4, rules.0.expression: input should be a valid string"),
        (HEAD + "rules:\n  - id: a\n    expression: 1 >\n    reason: r\n", "line 5, rules.0.expression: this is not CEL: "),
        (HEAD + "rules:\n  - id: a\n    expression: evalution.x > 1\n    reason: r\n", "there is no input evalution; there are approvals"),
        (HEAD + "rules:\n  - id: a\n    expression: 'true'\n    reason: is {evalution.x}\n", "there is no input evalution.x to fill in"),
        (HEAD + RULES + "  - {id: a, expression: 'false', reason: r}\n", "line 5, rules.1.id: there are two rules a"),
        (HEAD + RULES + "environments: {prod: {without: [b]}}\n", "there is no rule b"),
        (HEAD + RULES + "environments:\n  prod: {without: [a]}\n", "no rule is left in prod"),
        (HEAD + RULES + "parameters: {x: {setting: AI_INFRA_SIGNER_KEY_B64}}\n", "a parameter is taken from a setting"),
        (HEAD + RULES + "approvals: {roles: {security: 0}}\n", "line 5, approvals.roles.security: input should be greater"),
        (HEAD + RULES + "approvals: {pending_hours: 0}\n", "approvals.pending_hours"),
        (HEAD + RULES + "separation_of_duties: {approver_is_not: [boss]}\n", "separation_of_duties.approver_is_not.0"),
        (HEAD + RULES + "separation_of_duties: {requester_is_not: [requester]}\n", "separation_of_duties.requester_is_not.0"),
        (HEAD + RULES + "tests: [{name: t, expect: maybe}]\n", "line 5, tests.0.expect"),
        (
            HEAD + RULES + "tests: [{name: t, expect: yes, inputs: {parameters: 3}}]\n",
            "line 5, tests.0.inputs: its parameters are no names",
        ),
        (HEAD + many(101, "a") + "environments:\n  prod:\n    " + many(101, "b").replace("\n", "\n    "), "more than 200 rules in prod"),
        (HEAD + RULES + "parameters: {x: " + "[" * 40 + "]" * 40 + "}\n", "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ("x" * (yaml_reading.MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(text: str, problem: str) -> None:
    assert problem in refused(text)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x]\n" + "".join(f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join(['*' + chr(97 + at)] * 9)}]\n" for at in range(20))
    assert "anchors and aliases" in refused(bomb)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(BadInput, match="not UTF-8"):
        policy_file.read(b"name: \xff", "p.yaml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        policy_file.read(data, "p.yaml")
    except BadInput as error:
        assert str(error).startswith("p.yaml")


def test_only_numbers_true_false_and_null_are_not_text() -> None:
    text = "[no, on, yes, 2026-12-24, 12:30, 0x10, 1_000, .inf, TRUE, null, 3, -0.5, 1e3, '1', 1" + "2" * 63 + "]"
    expected: list[Any] = ["no", "on", "yes", "2026-12-24", "12:30", "0x10", "1_000", ".inf", True, None, 3, -0.5, 1000.0, "1"]
    assert yaml_reading.read(text.encode(), "x")[0] == [*expected, "1" + "2" * 63]


WITH_OVERRIDES = (
    HEAD
    + """parameters: {least: 1, metric: quality}
rules:
  - {id: a, expression: 'true', reason: first}
  - {id: b, expression: 'true', reason: first}
approvals: {roles: {lead: 1}, pending_hours: 5}
separation_of_duties: {approver_is_not: [trainer]}
environments:
  prod:
    parameters: {least: 2}
    rules:
      - {id: b, expression: 'false', reason: second}
      - {id: c, expression: 'true', reason: second, stage: apply}
    approvals: {roles: {security: 2}}
    separation_of_duties: {requester_is_not: [trainer, evaluator]}
models:
  toy:
    parameters: {least: 3}
    without: [a]
    approvals: {roles: {}}
"""
)


def made(environment: str, model: str) -> Any:
    file = policy_file.read(WITH_OVERRIDES.encode(), "p.yaml")
    return policy_file.effective(file, WITH_OVERRIDES.encode(), environment, model, {})


def test_an_environment_and_a_model_override_what_is_said_for_all() -> None:
    assert [rule.id for rule in made("staging", "rainfall").rules] == ["a", "b"]
    prod = made("prod", "rainfall")
    assert [(rule.id, rule.reason, rule.stage) for rule in prod.rules] == [
        ("a", "first", Stage.REQUEST),
        ("b", "second", Stage.REQUEST),
        ("c", "second", Stage.APPLY),
    ]
    assert prod.parameters == {"least": 2, "metric": "quality"}
    assert prod.conditions == Conditions(approvals={"security": 2}, pending_hours=5, approver_is_not=(Part.TRAINER,))
    assert prod.requester_is_not == (Part.TRAINER, Part.EVALUATOR)
    toy = made("prod", "toy")
    assert ([rule.id for rule in toy.rules], toy.parameters["least"], toy.conditions.approvals) == (["b", "c"], 3, {})


def test_the_digest_tells_apart_what_is_asked_for_and_the_document_says_it_all() -> None:
    digests = [made(environment, model).digest() for environment in ("staging", "prod") for model in ("rainfall", "toy")]
    assert len(set(digests)) == 4
    again = type(made("prod", "toy")).model_validate_json(made("prod", "toy").document())
    assert (again, again.digest()) == (made("prod", "toy"), made("prod", "toy").digest())
    assert made("prod", "toy").model_copy(update={"version": "2"}).digest() != again.digest()


def test_a_policy_for_an_environment_nobody_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(HEAD + RULES + "environments: {prdo: {approvals: {roles: {security: 1}}}}\n")
    settings = SETTINGS.model_copy(update={"policy": str(path)})
    with pytest.raises(Misconfigured, match="prdo, which AI_INFRA_ENVIRONMENTS does not name"):
        files.load(settings, "prod", "rainfall")


@pytest.mark.parametrize("name", ["nobody", "/nowhere/policy.yaml", "../policies/default"])
def test_a_policy_that_is_not_there_is_named_to_the_operator(name: str) -> None:
    with pytest.raises(Misconfigured, match="a YAML file, or one of default, strict"):
        files.load(SETTINGS.model_copy(update={"policy": name}), "prod", "rainfall")


def test_a_file_that_changes_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    settings = SETTINGS.model_copy(update={"policy": str(path)})
    path.write_text(HEAD + RULES)
    before = files.load(settings, "prod", "rainfall")
    path.write_text(HEAD + RULES.replace("true", "1 < 2"))
    assert files.load(settings, "prod", "rainfall").digest() != before.digest()
    path.write_text("name: [")
    with pytest.raises(Misconfigured, match=r"ours.yaml cannot be used: .* line 1 is not YAML"):
        files.load(settings, "prod", "rainfall")


@pytest.mark.parametrize("name", ["default", "strict"])
def test_the_shipped_policies_decide_their_own_cases_as_they_say(name: str) -> None:
    tried = cases.tried(SETTINGS, *files.read(Path(name)))
    assert [(one.case.name, one.wrong) for one in tried if one.wrong] == []
    assert {one.case.expect for one in tried} == {"yes", "no"}


def test_every_rule_of_the_strict_policy_says_no_in_one_of_its_cases() -> None:
    file, _ = files.read(Path("strict"))
    rules = {rule.id for layer in (file, *file.environments.values()) for rule in layer.rules}
    assert {case.rule for case in file.tests if case.rule} == rules


def test_strict_asks_two_people_of_two_roles_for_prod_and_nobody_who_trained_it() -> None:
    strict = SETTINGS.model_copy(update={"policy": "strict"})
    prod = files.load(strict, "prod", "rainfall").conditions
    assert (prod.approvals, prod.approver_is_not) == ({"ml-lead": 1, "security": 1}, (Part.TRAINER,))
    assert files.load(strict, "staging", "rainfall").conditions.approvals == {}


def test_the_default_policy_needs_nothing_but_the_evaluation() -> None:
    assert judging.names_used(files.load(SETTINGS, "prod", "rainfall")) == {"evaluation", "parameters"}


def test_the_sample_has_every_input() -> None:
    assert sample.inputs().keys() == judging.INPUTS


def test_the_example_of_the_documentation_decides_its_case_as_it_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "policies.md").read_text().split("```yaml\n")[1].split("```")[0].encode()
    assert [one.wrong for one in cases.tried(SETTINGS, policy_file.read(text, "example"), text)] == [None]


def test_the_wheel_has_the_policies_where_they_are_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["deployments/policies"] == "aiinfra_core/policies"
    assert {path.stem for path in files.policies_folder().glob("*.yaml")} == {"default", "strict"}
