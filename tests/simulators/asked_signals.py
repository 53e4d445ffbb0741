"""A rollout whose signals others are asked for, at a time of its own, and the series of its two arms."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiinfra_core.domain.rollout import Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import Query, RolloutSpec, SignalKind, SignalSpec, SourceKind
from tests.simulators.prometheus import Scraped

BEGAN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
"""When the step began; counting begins half a minute later."""
CHALLENGER, CHAMPION = UUID(int=2), UUID(int=1)
PROMETHEUS = Query(kind=SourceKind.PROMETHEUS, units='served_total{arm="{arm}"}', bad='failed_total{arm="{arm}"}')
BUCKETS = Query(kind=SourceKind.PROMETHEUS, buckets='seconds_bucket{arm="{arm}"}')
ERRORS = SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004, source="prom", query=PROMETHEUS)
LATENCY = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003, source="prom", query=BUCKETS)
SCRAPES = 15


def rollout(signal: SignalSpec, **changes: Any) -> Rollout:
    spec = RolloutSpec(signals=(signal,), bake_minutes=0)
    values: dict[str, Any] = {
        "id": UUID(int=3),
        "promotion_id": CHALLENGER,
        "environment": "prod",
        "model": "rainfall",
        "champion": CHAMPION,
        "sequence": 1,
        "spec": spec,
        "spec_digest": spec.digest(),
        "salt": "salt-of-a-test",
        "status": RolloutStatus.RUNNING,
        "step": 0,
        "weight": 500,
        "looks": 0,
        "frozen": None,
        "reason": None,
        "created_at": BEGAN,
        "step_started_at": BEGAN,
        "heard_at": BEGAN,
        "looked_at": None,
        "updated_at": BEGAN,
        "ended_at": None,
    }
    return Rollout(**values | changes)


def at(minutes: float) -> datetime:
    """Return a time after counting began, at which all that was scraped until then is there."""
    return BEGAN + timedelta(minutes=minutes, seconds=40)


def scraped(name: str, how_much: Callable[[int], float], *, begins: int = -600, ends: int = 3600, **labels: str) -> Scraped:
    """Return a series as scraped every 15 seconds; `how_much` it was so many seconds after counting began."""
    zero = BEGAN.timestamp() + 30
    return Scraped(name, labels, [(zero + second, how_much(second)) for second in range(begins, ends + 1, SCRAPES)])


def served(champion: int = 9, challenger: int = 1, failing: Sequence[float] = (0.1, 0.1)) -> list[Scraped]:
    """Return the counters of both arms, which had counted something before: so many units a second, of which such a share fails."""
    made = []
    for arm, per_second, share in (("champion", champion, failing[0]), ("challenger", challenger, failing[1])):
        made.append(scraped("served_total", rising(per_second, 10_000), arm=arm))
        made.append(scraped("failed_total", rising(per_second * share, 1000), arm=arm))
    return made


def rising(per_second: float, before: int) -> Callable[[int], float]:
    return lambda second: before + int(per_second * second)
