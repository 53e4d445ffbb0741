"""Whether anybody still judges a rollout: by its newest look, or its start, and by its deadline."""

from datetime import UTC, datetime, timedelta

import pytest

from aiinfra_core.canary.watching import unwatched
from aiinfra_core.domain.rollout_spec import RolloutSpec

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SPEC = RolloutSpec(silent_minutes=15, look_seconds=60, deadline_hours=2)
HOLDS = SPEC.model_copy(update={"when_inconclusive": "hold"})


@pytest.mark.parametrize(
    ("spec", "looked_at", "at", "why"),
    [
        (SPEC, None, BEGAN + 18 * MINUTE, None),
        (SPEC, None, BEGAN + 18 * MINUTE + timedelta(seconds=1), "never looked at, at 2026-01-01T00:00:00"),
        (SPEC, BEGAN + 60 * MINUTE, BEGAN + 78 * MINUTE, None),
        (SPEC, BEGAN + 60 * MINUTE, BEGAN + 79 * MINUTE, "looked at last at 2026-01-01T01:00:00"),
        (SPEC, BEGAN + 2 * HOUR, BEGAN + 2 * HOUR + 3 * MINUTE, None),
        (SPEC, BEGAN + 2 * HOUR, BEGAN + 2 * HOUR + 4 * MINUTE, "its deadline was 2026-01-01T02:00:00"),
        (HOLDS, BEGAN + 90 * HOUR, BEGAN + 90 * HOUR + 18 * MINUTE, None),
        (HOLDS, BEGAN + 90 * HOUR, BEGAN + 90 * HOUR + 19 * MINUTE, "looked at last"),
        (SPEC, BEGAN + HOUR, BEGAN, "looked at last at 2026-01-01T01:00:00"),
    ],
)
def test_a_rollout_is_unwatched_after_a_silence_and_three_looks_or_three_looks_after_its_deadline(
    spec: RolloutSpec, looked_at: datetime | None, at: datetime, why: str | None
) -> None:
    found = unwatched(spec, created_at=BEGAN, looked_at=looked_at, at=at)
    assert (found is None) if why is None else (why in (found or "")), found
