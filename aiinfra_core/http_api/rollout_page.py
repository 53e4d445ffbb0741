"""The page of a rollout: how it stands, the plot of its evidence, and every look and order; HTML that needs nothing else and runs nothing.

The plot is made in `rollout_shown`, the layout is `templates/rollout.html.jinja`. Nothing anybody wrote becomes markup.
"""

import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from aiinfra_core.domain.rollout import Heard, RolloutStatus, Verdict
from aiinfra_core.rollout_shown import plot, words
from aiinfra_core.wire.rollouts import SentLook, SentRollout, SentRolloutDetails

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "approval.css").read_text() + (_FOLDER / "rollout.css").read_text()
_HASHES = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in (_STYLE, plot.STYLE))
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_HASHES}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
"""With these a browser fetches nothing, runs nothing and sends nothing, whatever stands on the page."""

MOST_LOOKS_IN_PLOT = 600
_MOST_ROWS = 60
_TONES: dict[str, str] = {
    RolloutStatus.RUNNING: "wait",
    RolloutStatus.PAUSED: "wait",
    RolloutStatus.COMPLETED: "yes",
}
_VERDICTS: dict[str, str] = {
    Verdict.HOLD: "stay",
    Verdict.ADVANCE: "go on",
    Verdict.ROLLBACK: "go back",
    Verdict.INCONCLUSIVE: "no verdict",
}
Fact = dict[str, Any]


def page(found: SentRolloutDetails, now: datetime, public_url: str | None) -> str:
    """Return the page; `public_url` is where people reach the service."""
    rollout = found.rollout
    server = f" --server {public_url.rstrip('/')}" if public_url else ""
    return _template().render(
        rollout=rollout,
        name=words.name(rollout),
        champion=words.champion(rollout),
        now=now,
        style=Markup(_STYLE),  # noqa: S704 - a file of ours
        state={"word": words.STATES.get(rollout.status, rollout.status), "tone": _TONES.get(rollout.status, "no")},
        sentence=words.sentence(rollout),
        why=words.why(rollout, found.looks, found.orders),
        plot=Markup(plot.svg(found, titled=False)),  # noqa: S704 - each text in it is escaped where it is put in
        signals=list(_signals(found)),
        split=_split(found.looks[-1]) if found.looks else None,
        facts=list(_facts(found)),
        orders=found.orders,
        looks=[_look(one) for one in reversed(_rows(found.looks))],
        commands=[f"aiinfra rollout {action} {rollout.id} --reason WHY{server}" for action in _actions(rollout)],
        left_out=rollout.looks - len(_rows(found.looks)),
        show=f"aiinfra rollout show {rollout.id}{server}",
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["moment"] = lambda at: f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return environment.get_template("rollout.html.jinja")


def _signals(found: SentRolloutDetails) -> Iterator[Fact]:
    looks = found.looks
    readings = {one.signal: one for one in looks[-1].readings} if looks else {}
    judged = {one.signal: one for one in looks[-1].judged.signals} if looks else {}
    for spec in found.rollout.spec.signals:
        heard, said = readings.get(spec.name), judged.get(spec.name)
        frozen = (found.rollout.frozen or {}).get(spec.name, spec.seconds)
        yield {
            "name": spec.name,
            "bad": f"slower than {frozen:.3g} s" if frozen else f"slower than the champion's p{spec.quantile * 100:g}",
            "kind": spec.kind.value,
            "source": spec.source,
            "margin": f"{found.rollout.spec.margin_of(spec):g}",
            "alpha": f"{spec.alpha:g}",
            "champion": _whole(words.counted(said.champion)) if said else "",
            "challenger": _whole(words.counted(said.challenger)) if said else "",
            "back": f"{said.rollback:.2f} of {said.rollback_at:.2f}" if said else "",
            "on": f"{said.advance:.2f} of {said.advance_at:.2f}" if said and spec.advances else "not asked" if said else "",
            "trouble_tone": "quiet" if heard is not None and heard.heard == Heard.WARMING_UP else "no",
            "trouble": None if heard is None or heard.heard == Heard.OK else words.bad_share(heard),
        }


def _split(look: SentLook) -> str:
    judged = look.judged
    if judged.sample_ratio < judged.sample_ratio_at:
        return f"Traffic is split as it should be (ln e {judged.sample_ratio:.2f} of {judged.sample_ratio_at:.2f})."
    return f"Traffic is not split as it should be: ln e {judged.sample_ratio:.2f} reached {judged.sample_ratio_at:.2f}. Nothing advances."


def _facts(found: SentRolloutDetails) -> Iterator[Fact]:
    rollout, spec = found.rollout, found.rollout.spec
    for arm, artifact in (("challenger", found.challenger), ("champion", found.champion)):
        yield {"name": arm, "value": f"{artifact.model}:{artifact.version}", "code": False}
        yield {"name": f"its digest ({artifact.digest_kind})", "value": artifact.checksum, "code": True}
    yield {"name": "weights", "value": " → ".join(f"{weight:g} %" for weight in spec.weights), "code": False}
    yield {"name": "counted", "value": f"each {spec.unit.value} once in a step", "code": False}
    baked = f"{spec.bake_minutes:g} minutes in each step at least, {spec.deadline_hours:g} hours altogether at most"
    yield {"name": "takes", "value": baked, "code": False}
    yield {"name": "spec", "value": rollout.spec_digest, "code": True}
    yield {"name": "promotion", "value": rollout.promotion_id, "code": True}


def _rows(looks: tuple[SentLook, ...]) -> list[SentLook]:
    moved = [one for one in looks if one.verdict != Verdict.HOLD]
    newest = list(looks[-_MOST_ROWS:])
    return [one for one in moved if one.number < (newest[0].number if newest else 0)] + newest


def _look(look: SentLook) -> Fact:
    return {
        "number": look.number,
        "at": f"{look.created_at:%Y-%m-%d %H:%M:%S}",
        "weight": _whole(words.share(look.weight)),
        "verdict": _VERDICTS.get(look.verdict, look.verdict),
        "tone": "yes" if look.verdict == Verdict.ADVANCE else "" if look.verdict == Verdict.HOLD else "no",
        "reason": _whole(look.reason),
        "heard": [f"{one.signal}: {words.bad_share(one)}" for one in look.readings],
    }


def _whole(text: str) -> str:
    """Return a text whose percentages are not broken between two lines."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _actions(rollout: SentRollout) -> tuple[str, ...]:
    if not rollout.is_open:
        return ()
    return ("resume" if rollout.status == RolloutStatus.PAUSED else "pause", "advance", "abort")
