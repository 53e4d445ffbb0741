"""`rollout`: which there are, how one stands and by what evidence, what people may order, and looking at them from here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, say_table, working
from aiinfra_core.cli.registry import Ordered, Registry, Server, at, registry_at
from aiinfra_core.cli.rollout_typed import WhichRollout, rollout_id
from aiinfra_core.cli.typed import RequestId
from aiinfra_core.domain.rollout import Action, RolloutStatus, Verdict
from aiinfra_core.errors import BadInput, NotFound
from aiinfra_core.rollout_shown import plot, words
from aiinfra_core.wire.rollouts import SentRollout, SentRolloutDetails

rollout = App(name="rollout")
rollout.command(
    "aiinfra_core.cli.rollout_planning:plan",
    name="plan",
    help="""Say beforehand how long each step will take at a model's traffic, and how soon one that is worse would be sent back.

    It is computed from what you say of the traffic; nothing is asked or changed.""",
    help_epilogue=examples(
        "aiinfra rollout plan rain@prod --per-minute 600 --bad errors=0.01 --bad latency=0.05",
        "aiinfra rollout plan --weights 10,50,100 --per-minute 600 --bad errors=0.001 --bad latency=0.05 --json",
    ),
)
rollout.command(
    "aiinfra_core.cli.rollout_driving:look",
    name="look",
    help="Look at every open rollout that is due, or at one now, and do what the judge says of it.",
    help_epilogue=examples("aiinfra rollout look", "aiinfra rollout look rain@prod"),
)
rollout.command(
    "aiinfra_core.cli.rollout_driving:run",
    name="run",
    help="""Look at open rollouts whenever they are due, until told to stop; as the rollout flow, or a service, does.

    Two that do it at once do no harm: of two looks at the same time one counts.""",
    help_epilogue=examples("aiinfra rollout run", "aiinfra rollout run --until-none"),
)

OrderedBy = Annotated[str | None, Parameter(help="Who orders it; without it, the user who types.")]
Reason = Annotated[str, Parameter(help="Why; it is signed and kept.")]
_MOST, _NEWEST = 500, 8
_DONE: dict[Action, str] = {
    Action.PAUSE: "is paused: it is still looked at and may go back, but does not advance",
    Action.RESUME: "advances again, as the evidence allows",
    Action.ADVANCE: "advanced without waiting for evidence",
    Action.ABORT: "is aborted: all traffic is back",
}


@rollout.command(name="list", help_epilogue=examples("aiinfra rollout list", "aiinfra rollout list rain --environment prod --open"))
def list_rollouts(
    model: Annotated[str | None, Parameter(help="Only this model.")] = None,
    /,
    *,
    environment: Annotated[str | None, Parameter(help="Only there.")] = None,
    only_open: Annotated[bool, Parameter(name="--open", negative=(), show_default=False, help="Only those that have not ended.")] = False,
    limit: Annotated[int, Parameter(help=f"How many, at most {_MOST}.")] = 50,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List rollouts, newest first."""
    if not 1 <= limit <= _MOST:
        raise BadInput(f"--limit must be between 1 and {_MOST}.")
    with registry_at(server) as registry:
        found = registry.rollouts(environment, model, only_open, limit)
    if as_json:
        return say_json(list(found))
    if not found:
        return say("There is no such rollout." if model or environment or only_open else "Nothing was rolled out here.")
    say_table(("VERSION", "OVER", "IN", "STATUS", "WEIGHT", "STEP", "LOOKS", "BEGAN", "ID"), [_row(one) for one in found])
    return say_next(f"aiinfra rollout show {found[0].id}{at(server)}")


@rollout.command(
    help_epilogue=examples("aiinfra rollout show rain@prod", "aiinfra rollout show rain@prod --plot rain.svg --page rain.html")
)
def show(
    which: WhichRollout,
    /,
    *,
    plot_file: Annotated[Path | None, Parameter(name="--plot", metavar="FILE.svg", help="A file for the plot of its evidence.")] = None,
    page_file: Annotated[
        Path | None, Parameter(name="--page", metavar="FILE.html", help="A file for its page; open it in a browser.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show how a rollout stands: traffic, evidence, what was ordered, and its newest looks."""
    with registry_at(server) as registry:
        known = rollout_id(registry, which)
        found = registry.rollout(known)
        current = None if found.rollout.is_open else _current(registry, found.rollout)
        if page_file:
            _write(page_file, registry.rollout_page(known))
    if plot_file:
        _write(plot_file, plot.svg(found))
    if as_json:
        return say_json(found)
    say(words.sentence(found.rollout))
    say_fields(_facts(found, current))
    _say_signals(found)
    _say_orders(found)
    _say_looks(found)
    for written in filter(None, (plot_file, page_file)):
        say(f"{written} is written.")
    return say_next(_next(found.rollout, server)) if found.rollout.is_open else None


@rollout.command(help_epilogue=examples("aiinfra rollout pause rain@prod --reason 'a game tonight'"))
def pause(
    which: WhichRollout,
    /,
    *,
    reason: Reason,
    ordered_by: OrderedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Keep a rollout from advancing; it is still looked at, and still goes back."""
    return _order(Action.PAUSE, which, (reason, ordered_by, request_id), server, as_json)


@rollout.command(help_epilogue=examples("aiinfra rollout resume rain@prod --reason 'the game is over'"))
def resume(
    which: WhichRollout,
    /,
    *,
    reason: Reason,
    ordered_by: OrderedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Let a paused rollout advance again."""
    return _order(Action.RESUME, which, (reason, ordered_by, request_id), server, as_json)


@rollout.command(help_epilogue=examples("aiinfra rollout advance rain@prod --step 1 --reason 'seen in the shadow for a week'"))
def advance(
    which: WhichRollout,
    /,
    *,
    reason: Reason,
    step: Annotated[
        int | None, Parameter(help="The step you saw, as rollout show counts them: at another one nothing is done. By default that of now.")
    ] = None,
    ordered_by: OrderedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Go to the next step without waiting for evidence; at the last one the challenger becomes current, if it verifies.

    It is looked at first: what ends by that look is not advanced. Where people had to agree to the promotion, somebody else than who asked
    for it has to order this.
    """
    if step is None and request_id is not None:
        raise BadInput("With --request-id say --step too, as rollout show counts them: the same request is about the same step.")
    return _order(Action.ADVANCE, which, (reason, ordered_by, request_id), server, as_json, step)


@rollout.command(help_epilogue=examples("aiinfra rollout abort rain@prod --reason 'customers complain'"))
def abort(
    which: WhichRollout,
    /,
    *,
    reason: Reason,
    ordered_by: OrderedBy = None,
    request_id: RequestId = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """End a rollout: all traffic returns to what is current, and its promotion is rejected with your reason."""
    return _order(Action.ABORT, which, (reason, ordered_by, request_id), server, as_json)


def _order(
    action: Action, which: str, said: tuple[str, str | None, str | None], server: str | None, as_json: bool, step: int | None = None
) -> ExitCode:
    reason, ordered_by, request_id = said
    with registry_at(server) as registry:
        known = rollout_id(registry, which)
        seen = _seen(registry, known, step) if action is Action.ADVANCE else None
        about = {"rollout": known, "action": action.value, "step": seen}
        ordered = Ordered(**about, reason=reason, ordered_by=ordered_by, request_id=request_id)
        with working(f"Ordering {action.value}"):
            found = registry.order_rollout(ordered)
    if as_json:
        say_json(found)
        return ExitCode.OK
    say(f"The rollout of {words.name(found)} in {found.environment} {_done(found, action, seen)}.")
    say(words.sentence(found))
    if found.is_open:
        say_next(f"aiinfra rollout show {found.id}{at(server)}")
    return ExitCode.OK


def _seen(registry: Registry, known: UUID, typed: int | None) -> int:
    """Return which step, from 0, somebody means who typed one, from 1, or none."""
    if typed is not None and typed < 1:
        raise BadInput("--step counts from 1, as rollout show does.")
    return registry.rollout(known).rollout.step if typed is None else typed - 1


def _done(found: SentRollout, action: Action, seen: int | None) -> str:
    if seen is None:
        return _DONE[action]
    before, after = found.spec.weights[seen : seen + 2]
    return f"{_DONE[action]}, from {before:g} % to {after:g} %"


def _row(one: SentRollout) -> Sequence[object]:
    step = f"{one.step + 1} of {len(one.spec.weights)}"
    about = (words.name(one), words.champion(one), one.environment, words.STATES.get(one.status, one.status))
    return (*about, words.share(one.weight), step, one.looks, f"{one.created_at:%Y-%m-%d %H:%M}", one.id)


def _current(registry: Registry, ended: SentRollout) -> str | None:
    """Return what is current now, None where it is what a rollout left."""
    left = ended.challenger_version if ended.status == RolloutStatus.COMPLETED else ended.champion_version
    try:
        version = registry.artifact(f"{ended.model}@{ended.environment}").version
    except NotFound:  # the environment is gone from the settings
        return None
    return None if version == left else f"{ended.model}:{version}"


def _facts(found: SentRolloutDetails, current: str | None) -> dict[str, object]:
    one = found.rollout
    ended = f", ended {one.ended_at:%Y-%m-%d %H:%M:%S} UTC" if one.ended_at else ""
    return {
        "current now": current,
        "why": words.why(one, found.looks, found.orders),
        "weights": ", ".join(f"{weight:g} %" for weight in one.spec.weights),
        "began": f"{one.created_at:%Y-%m-%d %H:%M:%S} UTC{ended}",
        "looked at": f"{one.looks} times, last {one.looked_at:%Y-%m-%d %H:%M:%S} UTC" if one.looked_at else "not yet",
        "promotion": one.promotion_id,
        "rollout": one.id,
    }


def _say_signals(found: SentRolloutDetails) -> None:
    if not words.is_looked_at(found.rollout, found.looks):
        return
    readings = {one.signal: one for one in found.looks[-1].readings}
    asked = {one.name: one.advances for one in found.rollout.spec.signals}
    rows = [
        (
            f"  {one.signal}",
            words.counted(one.challenger),
            words.counted(one.champion),
            f"{one.rollback:.2f} of {one.rollback_at:.2f}",
            f"{one.advance:.2f} of {one.advance_at:.2f}" if asked.get(one.signal, True) else "not asked",
            readings[one.signal].heard if one.signal in readings else None,
        )
        for one in found.looks[-1].judged.signals
    ]
    say_table(("  SIGNAL", "CHALLENGER BAD", "CHAMPION BAD", "LN E TO GO BACK", "LN E TO GO ON", "HEARD"), rows)


def _say_orders(found: SentRolloutDetails) -> None:
    if found.orders:
        rows = [(f"  {one.action}", one.ordered_by, f"{one.created_at:%Y-%m-%d %H:%M:%S}", one.reason) for one in found.orders]
        say_table(("  ORDERED", "BY", "AT", "WHY"), rows)


def _say_looks(found: SentRolloutDetails) -> None:
    if found.looks:
        newest = found.looks[-_NEWEST:]
        moved = [one for one in found.looks[:-_NEWEST] if one.verdict != Verdict.HOLD]
        rows = [
            (f"  {one.number}", f"{one.created_at:%Y-%m-%d %H:%M:%S}", words.share(one.weight), one.verdict, one.reason)
            for one in (*moved, *newest)
        ]
        say_table(("  LOOK", "AT", "WEIGHT", "VERDICT", "WHY"), rows)


def _next(one: SentRollout, server: str | None) -> str:
    action = "resume" if one.status == RolloutStatus.PAUSED else "pause"
    return f"aiinfra rollout {action} {one.id} --reason WHY{at(server)}"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {(error.strerror or 'it cannot').lower()}; choose another file.") from error
