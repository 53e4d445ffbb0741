"""A rollout whose signals Prometheus and a database are asked for, from the operator's file to the verdict of a look."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from aiinfra_core import rolling_out
from aiinfra_core.domain.rollout import Counts, Heard, Look, Rollout, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec
from aiinfra_core.settings import Settings
from tests.simulators import open_rollouts
from tests.simulators.prometheus import Scraped, simulated
from tests.simulators.scripted_server import unused_url

QUERIES = """
queries:
  gateway: {kind: prometheus, units: 'served_total{by="{promotion}"}', bad: 'failed_total{by="{promotion}"}'}
  labels: {kind: sql, statement: "SELECT arm, 500 AS units, 5 AS bad FROM unnest(ARRAY['champion', 'challenger']) AS arms (arm)"}
"""
ERRORS = SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004, source="gateway")
QUALITY = SignalSpec(name="quality", kind=SignalKind.QUALITY, alpha=0.003, source="labels", advances=False)
SPEC = RolloutSpec(weights=(50, 100), bake_minutes=0, signals=(ERRORS, QUALITY))


@pytest.fixture
def asking(settings: Settings, tmp_path: Path) -> Settings:
    """Give settings with the operator's queries, and a Prometheus that is not there."""
    file = tmp_path / "rollouts.yaml"
    file.write_text(QUERIES)
    return settings.model_copy(
        update={"rollouts": file, "signals_database_url": settings.database_url, "prometheus_url": SecretStr(unused_url())}
    )


def served(rollout: Rollout, failing: tuple[float, float]) -> Sequence[Scraped]:
    """Return counters of both arms: ten units a second each, of which such a share fails."""
    began = rollout.step_started_at.timestamp()
    arms = zip((rollout.champion, rollout.promotion_id), failing, strict=True)
    return [
        Scraped(name, {"by": str(arm)}, [(began + second, int(10 * share * (second + 600))) for second in range(-600, 3600, 15)])
        for arm, failed in arms
        for name, share in (("served_total", 1), ("failed_total", failed))
    ]


def look(settings: Settings, rollout: Rollout, url: str, minutes: float) -> Look:
    there = settings.model_copy(update={"prometheus_url": SecretStr(url)})
    looked = rolling_out.look_at(there, rollout.id, at=rollout.step_started_at + timedelta(minutes=minutes))
    assert looked is not None
    return looked


def test_a_challenger_that_prometheus_says_is_worse_goes_back(asking: Settings) -> None:
    rollout = open_rollouts.begun(asking, SPEC)
    with simulated(served(rollout, (0.01, 0.05))) as url:
        first, second = look(asking, rollout, url, 0.4), look(asking, rollout, url, 10)
    assert [reading.heard for reading in first.readings] == [Heard.NO_DATA, Heard.NO_DATA]
    assert (first.verdict, second.verdict) == (Verdict.HOLD, Verdict.ROLLBACK)
    errors, quality = second.readings
    assert errors.challenger is not None and abs(errors.challenger.units - 5600) < 200
    assert errors.query == """served_total{by="{promotion}"} | failed_total{by="{promotion}"}"""
    assert quality.champion == Counts(units=500, bad=5)
    assert open_rollouts.now(asking, rollout).status is RolloutStatus.ROLLED_BACK


def test_a_challenger_that_prometheus_says_is_as_good_gets_all_traffic(asking: Settings) -> None:
    rollout = open_rollouts.begun(asking, SPEC)
    with simulated(served(rollout, (0.05, 0.05))) as url:
        verdicts = [look(asking, rollout, url, minutes).verdict for minutes in (2, 30)]
    assert verdicts == [Verdict.HOLD, Verdict.ADVANCE]
    assert open_rollouts.now(asking, rollout).status is RolloutStatus.COMPLETED


def test_a_rollout_holds_while_prometheus_is_away_and_ends_without_a_verdict_when_that_lasts(asking: Settings) -> None:
    rollout = open_rollouts.begun(asking, SPEC)
    with simulated(served(rollout, (0.05, 0.05))) as url:
        assert look(asking, rollout, url, 2).readings[0].heard is Heard.OK
    away = [look(asking, rollout, unused_url(), minutes) for minutes in (3, 16, 17.5)]
    assert [one.verdict for one in away] == [Verdict.HOLD, Verdict.HOLD, Verdict.INCONCLUSIVE]
    assert "errors: unreachable, The connection to 127.0.0.1" in away[-1].reason
    assert open_rollouts.now(asking, rollout).status is RolloutStatus.INCONCLUSIVE
