"""`rollout look` and `rollout run`: looking at rollouts from this machine's own installation."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core import database, rolling_out
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.here import Here
from aiinfra_core.cli.output import AsJson, note, say, say_json, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.rollout_typed import WhichRollout, rollout_id
from aiinfra_core.domain.rollout import Look
from aiinfra_core.registry import rollouts
from aiinfra_core.rolling_out import Looked
from aiinfra_core.rollout_shown import words
from aiinfra_core.settings import Settings

_POLL_SECONDS = 1.0


def look(which: WhichRollout | None = None, /, *, as_json: AsJson = False) -> ExitCode:
    """Look once: at the rollout that is named, due or not, else at all that are due."""
    settings = running_parts(always_here=True)
    if which is not None:
        return _look_at(settings, which, as_json)
    with working("Looking"):
        looked = rolling_out.look_round(settings)
    if as_json:
        say_json([_plain(one) for one in looked])
    elif not looked:
        say("No rollout is due.")
    for line in () if as_json else map(_line, looked):
        say(line)
    return ExitCode.UNAVAILABLE if any(one.problem for one in looked) else ExitCode.OK


def run(
    *, until_none: Annotated[bool, Parameter(negative=(), show_default=False, help="End when no rollout is open.")] = False
) -> ExitCode:
    """Look at rollouts when they are due, until SIGTERM or Ctrl-C."""
    settings = running_parts(always_here=True)
    say("Looking at rollouts when they are due.")
    sys.stdout.flush()
    with _until_told_to_stop() as stop:
        while not stop.is_set() and not (until_none and rolling_out.next_due(settings) is None):
            for looked in rolling_out.look_round(settings):
                say(_line(looked))
                sys.stdout.flush()
            stop.wait(_POLL_SECONDS)
    return ExitCode.OK


@contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    stop = threading.Event()

    def told(_number: int, _frame: Any) -> None:
        note("Stopping.")
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look_at(settings: Settings, which: str, as_json: bool) -> ExitCode:
    known = rollout_id(Here(settings), which)
    seen = rolling_out.look_at(settings, known)
    with database.autocommit(settings) as connection:
        now = rollouts.get(connection, known)
    if as_json:
        say_json(_plain(Looked(now, seen)))
    else:
        say(_line(Looked(now, seen)))
    return ExitCode.OK


def _line(looked: Looked) -> str:
    rollout, seen = looked.rollout, looked.look
    about = f"{rollout.model} in {rollout.environment}, {words.share(rollout.weight)}"
    if looked.problem:
        return f"{about}: could not be looked at: {looked.problem}"
    return f"{about}: {_said(seen)}" if seen else f"{about}: somebody was quicker, or it is {words.STATES[rollout.status]}"


def _said(seen: Look) -> str:
    return f"look {seen.number}, {seen.verdict.value}: {seen.reason}"


def _plain(looked: Looked) -> dict[str, Any]:
    rollout = looked.rollout
    about = {"rolloutId": str(rollout.id), "model": rollout.model, "environment": rollout.environment, "status": rollout.status.value}
    return {**about, "weight": rollout.weight, "look": looked.look, "problem": looked.problem}
