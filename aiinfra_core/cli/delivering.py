"""`audit deliver`, `audit replay` and `audit sinks`: the log on its way to those who keep it elsewhere."""

from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core import database
from aiinfra_core.audit_log.delivering import delivery, progress
from aiinfra_core.audit_log.delivering import replay as replaying
from aiinfra_core.audit_log.delivering import sinks as places
from aiinfra_core.audit_log.delivering.delivery import Delivery
from aiinfra_core.audit_log.delivering.progress import Standing
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_json, say_next, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.evidence.statement import timestamp

_SHORT_ID = 12


def deliver(
    *,
    now: Annotated[bool, Parameter(negative=(), help="Do not wait for the time of a failing sink's next try.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Deliver what the sinks have not been given yet."""
    settings = running_parts()
    with working("Delivering the audit log"):
        done = delivery.deliver(settings, at_once=now)
    if as_json:
        say_json([_plain_delivery(one) for one in done])
    elif done:
        say_table(
            ("SINK", "DELIVERED", "SET ASIDE", "PROBLEM"), [(one.sink.name, one.delivered, one.set_aside, one.problem) for one in done]
        )
    else:
        say(f"No sink is configured; set {places.SETTING}.")
    if any(one.busy for one in done):
        note("Another process is delivering to some of them now.")
    if any(one.paused for one in done):
        note("A failing sink waits for the time of its next try (aiinfra audit sinks); at once: aiinfra audit deliver --now")
    if any(one.set_aside for one in done):
        note("A sink refused events for good; see: aiinfra audit sinks, then: aiinfra audit replay --sink SINK --dead")
    return ExitCode.UNAVAILABLE if any(one.problem for one in done) else ExitCode.OK


def replay(
    *,
    sink: Annotated[str, Parameter(help="Its address, or the beginning of its id.")],
    first: Annotated[int, Parameter(name="--from", help="From this event on.")] = 1,
    last: Annotated[int | None, Parameter(name="--to", help="Up to this one; without it, as far as the sink was delivered to.")] = None,
    dead: Annotated[bool, Parameter(negative=(), help="Only what was set aside; what the sink takes now is forgotten.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Deliver a sink again what it was given before."""
    settings = running_parts()
    place = places.named(settings, sink)
    with working(f"Delivering to {place.name} again"):
        done = replaying.replay(settings, place, first=first, last=last, dead=dead)
    if as_json:
        say_json({"sink": place.name, "id": place.id, "delivered": done.delivered, "refused": done.refused})
    else:
        say(f"Delivered again to {place.name}: {done.delivered} events, {done.refused} refused.")
    return ExitCode.REFUSED if done.refused else ExitCode.OK


def sinks(*, as_json: AsJson = False) -> None:
    """Show where every sink stands."""
    settings = running_parts()
    with database.snapshot(settings) as tx:
        found = progress.standing(tx, places.configured(settings))
    if as_json:
        return say_json([_plain_standing(one) for one in found])
    if not found:
        return say(f"No sink is configured; set {places.SETTING}.")
    say_table(("SINK", "ID", "DELIVERED TO", "LAG", "DEAD LETTERS", "FAILURES", "NEXT TRY", "LAST ERROR"), [_line(one) for one in found])
    waits = next((one for one in found if one.dead_letters), None)
    return say_next(f"aiinfra audit replay --sink {waits.sink.id[:_SHORT_ID]} --dead") if waits else None


def _line(one: Standing) -> tuple[Any, ...]:
    retry = None if one.retry_at is None else f"{one.retry_at:%Y-%m-%d %H:%M:%S}"
    return (one.sink.name, one.sink.id[:_SHORT_ID], one.delivered, one.lag, one.dead_letters, one.failures, retry, one.last_error)


def _plain_delivery(one: Delivery) -> dict[str, Any]:
    return {
        "sink": one.sink.name,
        "id": one.sink.id,
        "delivered": one.delivered,
        "setAside": one.set_aside,
        "problem": one.problem,
        "paused": one.paused,
        "busy": one.busy,
    }


def _plain_standing(one: Standing) -> dict[str, Any]:
    return {
        "sink": one.sink.name,
        "id": one.sink.id,
        "deliveredSeq": one.delivered,
        "lag": one.lag,
        "deadLetters": one.dead_letters,
        "failures": one.failures,
        "lastError": one.last_error,
        "retryAt": None if one.retry_at is None else timestamp(one.retry_at),
    }
