from pathlib import Path

import pytest

from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api.starting import check_may_start
from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.command_line import Run

run = command_line.run
OURS = """name: ours
version: "7"
description: Only what scores.
rules:
  - {id: scores, expression: evaluation.metrics.quality > 0.5, reason: too low}
models:
  toy: {approvals: {roles: {lead: 1}}}
tests:
  - {name: enough, inputs: {evaluation: {metrics: {quality: 0.6}}}, expect: "yes"}
  - {name: too little, inputs: {evaluation: {metrics: {quality: 0.4}}}, expect: "no", rule: scores}
"""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AI_INFRA_HOME", str(tmp_path / "home"))
    path = tmp_path / "ours.yaml"
    path.write_text(OURS)
    return path


def test_policy_check_shows_what_a_file_makes_for_each_environment_and_model(run: Run, ours: Path) -> None:
    shown = run(f"policy check {ours} --json").json
    assert (shown["name"], shown["version"], shown["tests"]) == ("ours", "7", 2)
    assert [(one["environment"], one["model"], one["approvals"]) for one in shown["effective"]] == [
        ("staging", "toy", {"lead": 1}),
        ("staging", None, {}),
        ("prod", "toy", {"lead": 1}),
        ("prod", None, {}),
    ]
    told = run(f"policy check {ours}")
    assert (told.code, "lead 1" in told.out, f"aiinfra policy test {ours}" in told.out) == (0, True, True)


def test_policy_check_names_line_and_field_of_what_is_wrong(run: Run, ours: Path) -> None:
    ours.write_text(OURS.replace("quality > 0.5", "quality >"))
    wrong = run(f"policy check {ours}")
    assert (wrong.code, f"{ours}, line 5, rules.0.expression: this is not CEL" in wrong.error) == (2, True)


def test_policy_check_refuses_environments_that_are_not_configured(run: Run, ours: Path) -> None:
    ours.write_text(OURS + "environments: {prdo: {approvals: {roles: {lead: 2}}}}\n")
    refused = run(f"policy check {ours}")
    assert (refused.code, "prdo, which AI_INFRA_ENVIRONMENTS does not name" in refused.error) == (6, True)


def test_policy_test_ends_with_exit_code_3_if_a_case_is_not_decided_as_it_says(run: Run, ours: Path) -> None:
    good = run(f"policy test {ours}")
    assert (good.code, "2 of 2 as expected." in good.out) == (0, True)
    ours.write_text(OURS.replace('expect: "yes"', 'expect: "no"').replace("rule: scores", "rule: other"))
    bad = run(f"policy test {ours} --json")
    assert (bad.code, [one["wrong"] for one in bad.json]) == (
        3,
        ["it is a yes: Every rule of the policy ours 7 holds (1).", "the rule that says so is scores: too low"],
    )


def test_a_file_that_is_not_there_is_bad_input_that_names_those_that_are_shipped(run: Run, ours: Path) -> None:
    missing = run("policy check nobodys")
    assert (missing.code, "default, strict" in missing.error) == (2, True)


def test_a_service_does_not_start_with_a_policy_it_cannot_use(ours: Path) -> None:
    settings = Settings.model_validate({"home": "/nowhere", "policy": str(ours)})
    check_may_start(settings)
    ours.write_text("name: [")
    with pytest.raises(Misconfigured, match="line 1 is not YAML"):
        check_may_start(settings)
