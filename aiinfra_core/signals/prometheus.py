"""Ask Prometheus for the counts of a signal, over its HTTP API: the samples of counters themselves, not a rate that it estimates.

Each look asks only for what came since the one before, where that was usable; `query` of a reading says what was asked.
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiinfra_core import canonical_json, outbound
from aiinfra_core.domain.rollout import Arm, Heard, Reading, Rollout
from aiinfra_core.domain.rollout_spec import Query, SignalKind, SignalSpec, Unit
from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.settings import Settings
from aiinfra_core.signals import buckets
from aiinfra_core.signals.counters import Labels, Series, new_in, newest, rises, series_of
from aiinfra_core.signals.filling import counted_since, for_arm
from aiinfra_core.signals.readings import Unusable, check_fresh, counted, said, threshold, warming_up

_SETTLED = timedelta(seconds=10)  # a scrape is dated when it begins, and is there when it has ended
_LOOKBACK_SECONDS = 300
_EARLIER = "1d"
_MOST_BYTES = 32 * 1024 * 1024
_OK = 200
_UNAUTHORISED = (401, 403)


@dataclass(frozen=True)
class _Asked:
    """Whom to ask, until when to wait, and which time to ask about: after `since`, until `until`, in seconds since 1970."""

    address: str
    headers: Mapping[str, str]
    deadline: float
    since: float
    until: float


@dataclass(frozen=True)
class _Risen:
    """By how much the series of a selector rose, and when the newest sample of them is of."""

    rises: Mapping[Labels, int]
    newest: float | None


def read(settings: Settings, rollout: Rollout, signal: SignalSpec, query: Query, previous: Reading | None, at: datetime) -> Reading:
    """Return the counts of a signal, or why there are none, within AI_INFRA_SIGNAL_SECONDS."""
    deadline = time.monotonic() + settings.signal_seconds
    told = " | ".join(filter(None, (query.units, query.bad, query.buckets)))
    usable = previous if previous and previous.heard is Heard.OK else None
    since = usable.through if usable and usable.through else counted_since(rollout)
    until = max(since, at.replace(microsecond=0) - _SETTLED)
    if rollout.spec.unit is Unit.USER:
        return Unusable(Heard.MALFORMED, "Prometheus counts requests, and this rollout counts users").reading(signal, told)
    try:
        asked = _Asked(*_whom(settings), deadline, since.timestamp(), until.timestamp())
        ask = _latency if signal.kind is SignalKind.LATENCY else _shares
        return ask(asked, rollout, signal, query, usable).model_copy(update={"query": told})
    except Unusable as error:
        return error.reading(signal, told)


def _whom(settings: Settings) -> tuple[str, dict[str, str]]:
    if settings.prometheus_url is None:
        raise Unusable(Heard.UNREACHABLE, "AI_INFRA_PROMETHEUS_URL is not set, so there is nobody to ask")
    try:
        address = outbound.endpoint("AI_INFRA_PROMETHEUS_URL", settings.prometheus_url.get_secret_value())
    except Misconfigured as error:
        raise Unusable(Heard.UNREACHABLE, str(error)) from None
    token = settings.prometheus_token
    return address, {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}


def _shares(asked: _Asked, rollout: Rollout, signal: SignalSpec, query: Query, before: Reading | None) -> Reading:
    if query.units is None or query.bad is None:
        raise Unusable(Heard.MALFORMED, "its query needs `units` and `bad`, each a selector of counters")
    units = {arm: _risen(asked, for_arm(query.units, rollout, arm)) for arm in Arm}
    bad = {arm: _risen(asked, for_arm(query.bad, rollout, arm)) for arm in Arm}
    _check_fresh(asked, rollout, units)
    numbers = {arm: (_total(units[arm]), _total(bad[arm])) for arm in Arm}
    return _since_step(asked, signal, numbers, before)


def _latency(asked: _Asked, rollout: Rollout, signal: SignalSpec, query: Query, before: Reading | None) -> Reading:
    if query.buckets is None:
        raise Unusable(Heard.MALFORMED, "its query needs `buckets`, a selector of the _bucket series of a histogram")
    risen = {arm: _risen(asked, for_arm(query.buckets, rollout, arm)) for arm in Arm}
    _check_fresh(asked, rollout, risen)
    histograms = {arm: buckets.summed(one.rises) for arm, one in risen.items()}
    seconds, champion = threshold(signal, rollout.frozen), histograms[Arm.CHAMPION]
    if seconds is None:
        return warming_up(signal, champion.get(math.inf, 0), seconds=buckets.quantile_bound(champion, signal.quantile))
    bound = buckets.bound_for(list(histograms.values()), seconds)
    if before is not None and before.seconds != bound:
        raise Unusable(Heard.MALFORMED, f"the buckets changed within the step: {before.seconds:g} s was a bound of theirs")
    numbers = {arm: buckets.slower(one, bound) for arm, one in histograms.items()}
    return _since_step(asked, signal, numbers, before, seconds=bound)


def _since_step(
    asked: _Asked, signal: SignalSpec, numbers: Mapping[Arm, tuple[int, int]], before: Reading | None, *, seconds: float | None = None
) -> Reading:
    kept = {Arm.CHAMPION: before.champion, Arm.CHALLENGER: before.challenger} if before else {}
    total = {
        arm: (units, bad) if (had := kept.get(arm)) is None else (units + had.units, bad + had.bad) for arm, (units, bad) in numbers.items()
    }
    return counted(signal, total, previous=before, through=datetime.fromtimestamp(asked.until, UTC), seconds=seconds)


def _check_fresh(asked: _Asked, rollout: Rollout, risen: Mapping[Arm, _Risen]) -> None:
    for arm, one in risen.items():
        if one.newest is None:
            raise Unusable(Heard.NO_DATA, f"Prometheus has no samples of the {arm}")
        check_fresh(rollout.spec, datetime.fromtimestamp(one.newest, UTC), datetime.fromtimestamp(asked.until, UTC))


def _total(risen: _Risen) -> int:
    return sum(risen.rises.values())


def _risen(asked: _Asked, selector: str) -> _Risen:
    """Return by how much the counters of a selector rose in the time asked about."""
    seconds = math.ceil(asked.until - asked.since) + _LOOKBACK_SECONDS
    series = _answered(asked, f"{selector}[{seconds}s]", asked.until, "matrix")
    earlier = []
    if new_in(series, asked.since):
        earlier = _answered(asked, f"last_over_time({selector}[{_EARLIER}])", asked.until - seconds, "vector")
    return _Risen(rises(series, asked.since, earlier), newest(series))


def _answered(asked: _Asked, expression: str, moment: float, kind: str) -> list[Series]:
    left = asked.deadline - time.monotonic()
    if left <= 0:
        raise Unusable(Heard.UNREACHABLE, "Prometheus did not answer everything in time")
    question = urlencode({"query": expression, "time": f"{moment:.3f}", "timeout": f"{math.ceil(left * 1000)}ms"})
    url, patience = f"{asked.address}/api/v1/query?{question}", outbound.Patience(left, attempts=1)
    try:
        reply = outbound.get("prometheus", url, headers=asked.headers, patience=patience, max_bytes=_MOST_BYTES)
    except Unavailable as error:
        raise Unusable(Heard.UNREACHABLE, str(error)) from None
    return series_of(_result(reply, kind), moment)


def _result(reply: outbound.Reply, kind: str) -> Any:
    answer = _read(reply)
    if reply.status != _OK or answer.get("status") != "success":
        raise Unusable(Heard.MALFORMED, f"Prometheus refused: HTTP {reply.status}, {said(answer.get('error'))}")
    if answer.get("warnings"):  # of Thanos and the like: the answer is of a part of what there is
        raise Unusable(Heard.MALFORMED, f"Prometheus warned that its answer may not be whole: {said(answer['warnings'])}")
    data = answer.get("data")
    if not isinstance(data, dict) or data.get("resultType") != kind or not isinstance(data.get("result"), list):
        raise Unusable(Heard.MALFORMED, f"Prometheus answered no {kind}")
    return data["result"]


def _read(reply: outbound.Reply) -> dict[str, Any]:
    if reply.status in _UNAUTHORISED:
        raise Unusable(Heard.UNREACHABLE, f"Prometheus does not let us ask (HTTP {reply.status}); see AI_INFRA_PROMETHEUS_TOKEN")
    if reply.too_long:
        raise Unusable(Heard.MALFORMED, f"Prometheus answered more than {_MOST_BYTES} bytes; select fewer series")
    if reply.media_type != "application/json":
        raise Unusable(
            Heard.MALFORMED, f"Prometheus answered HTTP {reply.status} as {said(reply.media_type or 'nothing')}, which is not JSON"
        )
    try:
        answer = canonical_json.loads(reply.body, what="Prometheus' answer")
    except BadInput as error:
        raise Unusable(Heard.MALFORMED, str(error)) from None
    if not isinstance(answer, dict):
        raise Unusable(Heard.MALFORMED, "Prometheus answered no JSON object")
    return answer
