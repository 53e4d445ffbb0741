"""The placeholders of an operator's queries: names in braces, filled in with what is known of a rollout."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from aiinfra_core.domain.rollout import Arm, Heard, Rollout
from aiinfra_core.domain.rollout_spec import Query, SourceKind
from aiinfra_core.signals.readings import Unusable

AFTER_CHANGE = timedelta(seconds=30)
"""So long after traffic was changed counting begins: until then routers may still send it as before, and no source says which way."""
IN_SELECTORS = ("arm", "promotion", "model", "environment", "rollout")
"""What may stand in braces in what Prometheus is asked; `promotion` is that of the arm."""
IN_STATEMENTS = ("model", "environment", "rollout", "champion", "challenger", "since", "until", "seconds")
"""What may stand in braces in SQL; `champion` and `challenger` are ids of promotions, counting is from `since` until `until`."""
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")  # PromQL's own braces hold more than a name, or nothing


def unknown_in(query: Query) -> list[str]:
    """Return what stands in braces in a query that nothing is filled in for."""
    known = IN_STATEMENTS if query.kind is SourceKind.SQL else IN_SELECTORS
    texts = (query.units, query.bad, query.buckets, query.statement)
    return sorted({name for text in texts for name in _PLACEHOLDER.findall(text or "")} - set(known))


def counted_since(rollout: Rollout) -> datetime:
    """Return from when on others' counts belong to the step of a rollout."""
    return rollout.step_started_at + AFTER_CHANGE


def for_arm(selector: str, rollout: Rollout, arm: Arm) -> str:
    """Return a Prometheus selector for one arm.

    Raises:
        Unusable: it has a placeholder that nothing is known for.
    """
    promotion = rollout.promotion_id if arm is Arm.CHALLENGER else rollout.champion
    values = (arm.value, str(promotion), rollout.model, rollout.environment, str(rollout.id))
    return _filled(selector, dict(zip(IN_SELECTORS, values, strict=True)))


def for_database(statement: str, rollout: Rollout, seconds: float | None, at: datetime) -> tuple[str, dict[str, Any]]:
    """Return an SQL statement with parameters in the place of placeholders, and their values; nothing is written into its text.

    Raises:
        Unusable: it has a placeholder that nothing is known for.
    """
    since = counted_since(rollout)
    values = (rollout.model, rollout.environment, rollout.id, rollout.champion, rollout.promotion_id, since, at, seconds)
    text = _filled(statement.replace("%", "%%"), {name: f"%({name})s" for name in IN_STATEMENTS})
    return text, dict(zip(IN_STATEMENTS, values, strict=True))


def _filled(text: str, known: Mapping[str, str]) -> str:
    def filled(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise Unusable(Heard.MALFORMED, f"its query has {found[0]}; what is filled in is {', '.join(f'{{{one}}}' for one in known)}")
        return known[found[1]]

    return _PLACEHOLDER.sub(filled, text)
