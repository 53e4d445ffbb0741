"""`aiinfra rollout plan`: what it computes it says, in words and as JSON, and what is typed wrongly is named."""

import json
from pathlib import Path

import pytest

from aiinfra_core.canary import planning
from aiinfra_core.domain.rollout_spec import RolloutSpec
from tests.simulators.command_line import Run, run

__all__ = ["run"]

TRAFFIC = "--per-minute 600 --bad errors=0.01 --bad latency=0.05"


def test_the_plan_is_the_judges_own_and_the_sum_of_its_steps(run: Run) -> None:
    expected = planning.plan(RolloutSpec(), 600, {"errors": 0.01, "latency": 0.05})
    told = run(f"rollout plan {TRAFFIC} --json").json
    assert [one["minutes"] for one in told["steps"]] == [one.minutes for one in expected]
    assert [one["weight"] for one in told["steps"]] == [500, 2500, 5000]
    assert told["minutes"] == sum(one.minutes or 0 for one in expected)
    assert told["steps"][0]["finds"]["errors"]["3"] == expected[0].finds["errors"][3]
    assert "has all traffic after" in run(f"rollout plan {TRAFFIC}").out


def test_traffic_that_is_too_thin_is_said_beforehand(run: Run) -> None:
    line = "rollout plan --per-minute 2 --bad errors=0.0001 --bad latency=0.05"
    assert run(f"{line} --json").json["minutes"] is None
    assert "At this traffic it is not over within 24 hours: it would end without a verdict." in run(line).out


def test_a_spec_is_typed_as_weights_as_a_file_or_as_a_place_of_the_operators_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(line: str) -> list[int]:
        return [one["weight"] for one in run(f"rollout plan {line} {TRAFFIC} --json").json["steps"]]

    file = tmp_path / "slow.yaml"
    file.write_text("weights: [1, 100]\nbakeMinutes: 30\n")
    assert weights("--weights 10,50,100") == [1000, 5000]
    assert weights(f"--rollout {file}") == [100]
    assert weights(f"--rollout {file} --weights 20,100") == [2000]
    monkeypatch.setenv("AI_INFRA_ROLLOUTS", str(tmp_path / "rollouts.yaml"))
    (tmp_path / "rollouts.yaml").write_text(json.dumps({"environments": {"prod": {"weights": [2, 100]}}}))
    assert weights("rain@production") == [200]
    assert "all traffic of staging at once" in run(f"rollout plan rain@staging {TRAFFIC}").error


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--per-minute 600 --bad errors=0.01", "--bad must be given once for each signal, which are: errors, latency."),
        ("--per-minute 600 --bad errors=1 --bad latency=0.05", "--bad errors must be a share between 0 and 1"),
        (f"{TRAFFIC} --weights 5,x", "--weights takes per cents like 5,25,50,100, not '5,x'."),
        (f"{TRAFFIC} --weights 50,5", "weights must rise and end with 100"),
        (f"{TRAFFIC} --rollout nowhere.yaml", "nowhere.yaml cannot be read"),
        (f"rain {TRAFFIC}", "'rain' is no place; write MODEL@ENVIRONMENT"),
        ("--per-minute 0 --bad errors=0.01 --bad latency=0.05", "--per-minute must be above 0"),
    ],
)
def test_what_is_typed_wrongly_is_named(run: Run, line: str, says: str) -> None:
    failed = run(f"rollout plan {line}")
    assert (failed.code, says in failed.error) == (2, True), failed.error
