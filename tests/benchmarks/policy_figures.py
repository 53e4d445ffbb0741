"""Measure what one decision of a local policy of 20 rules costs, warm, here and in the process that judges; started by test_policy."""

import statistics
import time
from pathlib import Path

from aiinfra_core.domain.promotion import Stage
from aiinfra_core.policy import local, sample
from aiinfra_core.rules import sandbox
from aiinfra_core.rules.document import Policy, Rule

DECISIONS, ROUNDS = 500, 10
_CONDITIONS = (
    "evaluation.metrics.quality >= parameters.minimum_quality",
    'evaluation.kind == "measured" && evaluation.source == "pipeline"',
    "evaluation.datasets.exists(dataset, dataset.sha256 == parameters.dataset)",
    "current == null || comparison.difference[parameters.metric] >= -parameters.margin",
    'reproduction.outcome in ["identical", "within_tolerance"]',
    'scan.verdict in ["no_code", "safe"]',
    "environments.staging.artifactId == artifact.id",
    "parameters.freezes.all(freeze, timestamp(now) < timestamp(freeze.from) || timestamp(now) >= timestamp(freeze.until))",
    'provenance.kind == "trained"',
    "size(evaluations) >= 1",
)
PARAMETERS = {
    "minimum_quality": 0.8,
    "dataset": sample.DATASET,
    "metric": "quality",
    "margin": 0.01,
    "freezes": [{"from": "2026-12-19T00:00:00Z", "until": "2027-01-04T00:00:00Z"}],
}


def measure() -> None:
    """Print the figures: the processor's time of both processes together, and the time that passes."""
    rules = [
        Rule(id=f"rule-{number}", expression=condition, reason="no: {artifact.model}:{artifact.version}")
        for number, condition in enumerate(_CONDITIONS * 2)
    ]
    policy = Policy(name="figures", version="1", allow_id="yes", deny_id="no", parameters=PARAMETERS, rules=tuple(rules))
    inputs = sample.inputs() | {"parameters": PARAMETERS}
    assert local.decide(policy, inputs, Stage.REQUEST, 5).allowed
    cpu, wall = [], []
    for _ in range(ROUNDS):
        began, own, other = time.perf_counter(), time.process_time(), _judge_seconds()
        for _ in range(DECISIONS):
            local.decide(policy, inputs, Stage.REQUEST, 5)
        cpu.append((time.process_time() - own + _judge_seconds() - other) / DECISIONS * 1e3)
        wall.append((time.perf_counter() - began) / DECISIONS * 1e3)
    print(f"\na decision by {len(rules)} rules, warm: CPU {statistics.median(cpu):.2f} ms, passes {statistics.median(wall):.2f} ms")  # noqa: T201
    print(f"CPU / 1 ms: {statistics.median(cpu):.2f}")  # noqa: T201


def _judge_seconds() -> float:
    """Return the processor's time of the process that judges, in ticks of nanoseconds as the scheduler counts them."""
    pid = sandbox.process_id()
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


if __name__ == "__main__":
    measure()
