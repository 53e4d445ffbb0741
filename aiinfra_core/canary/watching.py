"""Whether anybody still judges a rollout: where nobody does, its challenger is to have no traffic until somebody looks again."""

from datetime import datetime, timedelta

from aiinfra_core.domain.rollout_spec import Inconclusive, RolloutSpec

_LOOKS = 3
"""So many looks may be missed before it counts."""


def unwatched(spec: RolloutSpec, *, created_at: datetime, looked_at: datetime | None, at: datetime) -> str | None:
    """Return why an open rollout counts as judged by nobody at a time, None where somebody judges it; the same words while that is so.

    Its newest look, or its start, may be `silent_minutes` and three looks old, as after a silence so long a look would have ended it. Its
    deadline may be three looks ago where a look after it returns all traffic.
    """
    missed, newest = timedelta(seconds=_LOOKS * spec.look_seconds), looked_at or created_at
    longest = timedelta(minutes=spec.silent_minutes) + missed
    if abs(at - newest) > longest:  # one of a time to come is none that was made
        seen = "it was looked at last" if looked_at else "it began, and was never looked at,"
        return f"{seen} at {newest.isoformat(timespec='seconds')}, and every {longest.total_seconds():g} s is the least"
    deadline = created_at + timedelta(hours=spec.deadline_hours)
    if spec.when_inconclusive is Inconclusive.RETURN and at > deadline + missed:
        return f"its deadline was {deadline.isoformat(timespec='seconds')}, and no look has ended it since"
    return None
