"""Run one flow by hand, `python -m flows.VERB`: its command line, the Prefect server it reports to, how it exits.

The configured Prefect API is used; where none is, the local server, started when it does not run. Exit codes are those of `aiinfra`
(docs/cli.md). Which options a flow has is in `command_line`.
"""

import copy
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import httpx
from cyclopts import App, CycloptsError, Parameter
from prefect import Flow, State, get_client
from prefect.exceptions import ParameterTypeError, PrefectException
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.utilities.urls import url_for

from aiinfra_core.cli.exit_codes import ExitCode, of_error
from aiinfra_core.domain.promotion import REFUSED, PromotionStatus
from aiinfra_core.domain.reproduction import Outcome
from aiinfra_core.embedded import prefect_server
from aiinfra_core.errors import AiInfraError, BadInput, Unavailable
from aiinfra_core.settings import Settings
from flows.outcomes import PipelineOutcome, PromotionOutcome, ReproductionOutcome, RollbackOutcome

_A_NO = {*REFUSED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED, PromotionStatus.ROLLED_BACK}
_RUNS = ("prefect.flow_runs", "prefect.task_runs", "aiinfra_core")
_LEAST_PAUSE = 0.5  # seconds; what is due but cannot be done is tried again, not without end at once
_Options = Callable[..., dict[str, Any]]
_Again = Callable[[Any], datetime | None] | None


def main(flow: Flow[..., Any], options: _Options, again: _Again = None) -> NoReturn:
    """Run a flow as the command line says and exit; an error is one line on standard error.

    `again` says of an outcome when the flow is to be run once more, None where that is not needed. Of such a flow no more than its
    outcomes is shown, and what goes wrong.
    """
    try:
        code = _run(flow, options, sys.argv[1:], again)
    except CycloptsError as error:
        code = _tell(BadInput(f"{error} See: python -m flows.{flow.name} --help"))
    except AiInfraError as error:
        code = _tell(error)
    except (httpx.HTTPError, PrefectException) as error:
        code = _tell(
            Unavailable("prefect_server", f"The Prefect server does not answer properly ({error}); see that it runs, and try again.")
        )
    except KeyboardInterrupt:
        print("Interrupted; the same command continues where this one stood.", file=sys.stderr)  # noqa: T201
        code = ExitCode.INTERRUPTED
    sys.exit(code)


def _run(flow: Flow[..., Any], options: _Options, arguments: list[str], again: _Again) -> ExitCode:
    parameters = _parameters(flow, options, arguments)
    if parameters is None:
        return ExitCode.OK
    _calm_console(logging.WARNING if again else logging.NOTSET)
    with _prefect_api():
        while True:
            state = cast("State[object]", flow(**parameters, return_state=True))
            code = _report(state, where=not again)
            at = again(state.result(raise_on_failure=False)) if again and state.is_completed() else None
            if at is None:
                return code
            time.sleep(max(_LEAST_PAUSE, (at - datetime.now(UTC)).total_seconds()))


def _parameters(flow: Flow[..., Any], options: _Options, arguments: list[str]) -> dict[str, Any] | None:
    """Return the flow's checked parameters; None when only help was asked for."""
    does, *_ = (flow.description or "").split("\n\n")
    app = App(name=f"python -m flows.{flow.name}", help=does, version_flags=[], result_action="return_value")
    app.default(options)

    def choose(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        params: Annotated[
            Path | None, Parameter(help="JSON file of the parameters, as `prefect deployment run --params` takes them.")
        ] = None,
    ) -> Any:
        return _from_file(params) if params else app(tokens, exit_on_error=False, print_error=False)

    app.meta.default(choose)
    given = app.meta(arguments, exit_on_error=False, print_error=False)
    try:
        return None if given is None else flow.validate_parameters(given)
    except ParameterTypeError as error:
        raise BadInput(" ".join(str(error).split())) from error


def _from_file(file: Path) -> dict[str, Any]:
    try:
        parameters = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise BadInput(f"{file} holds JSON but no object; write the flow's parameters by name.")
    return parameters


@contextmanager
def _prefect_api() -> Iterator[None]:
    if configured := PREFECT_API_URL.value():
        _check_answers(configured)
        yield
        return
    url = prefect_server.ensure_running(Settings().home, on_wait=_tell_waiting)
    # Nobody watches a local run for its heartbeat, and each makes the end of a flow wait up to a second.
    with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _check_answers(url: str) -> None:
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem:
        raise Unavailable("prefect_server", f"The configured Prefect API {url} does not answer; start it, or unset PREFECT_API_URL.")


def _tell_waiting(seconds: float) -> None:
    print(f"Waiting for the local Prefect server to start: {seconds:.0f} s", file=sys.stderr)  # noqa: T201


def _report(state: State[object], *, where: bool) -> ExitCode:
    run = state.state_details.flow_run_id
    told = f"Run: {url_for('flow-run', run) if run else 'none'}"
    outcome = state.result(raise_on_failure=False)
    if state.is_completed():
        print(f"{told}\n{outcome}" if where else outcome, flush=True)  # noqa: T201
        return ExitCode.REFUSED if _is_a_no(outcome) else ExitCode.OK
    print(told, file=sys.stderr)  # noqa: T201
    if isinstance(outcome, AiInfraError):
        return _tell(outcome)
    # What is not an error of the product may hold a secret in its text.
    print(f"Something unexpected happened ({type(outcome).__name__}); the log of the run shows where.", file=sys.stderr)  # noqa: T201
    return ExitCode.UNEXPECTED


def _is_a_no(outcome: object) -> bool:
    if isinstance(outcome, ReproductionOutcome):
        return outcome.outcome is Outcome.DIFFERENT
    if isinstance(outcome, RollbackOutcome) and outcome.status is PromotionStatus.ROLLED_BACK:
        return False  # a rollout was open, and this is what was wanted
    return isinstance(outcome, (PromotionOutcome, PipelineOutcome)) and outcome.status in _A_NO


def _tell(error: AiInfraError) -> ExitCode:
    print(" ".join(str(error).split()), file=sys.stderr)  # noqa: T201
    return of_error(error)


class _OneLine(logging.Formatter):
    """Writes a record as Prefect would, without the traceback; that one is in the log of the run."""

    def __init__(self, before: logging.Formatter | None) -> None:
        super().__init__()
        self._before = before or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        calm = copy.copy(record)
        calm.exc_info = calm.exc_text = None
        return self._before.format(calm)


def _calm_console(least: int) -> None:
    """Show what the runs say from a level on, without tracebacks; an error is told once, at the end."""
    for logger in [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]:
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler) and not isinstance(handler.formatter, _OneLine):
                handler.setFormatter(_OneLine(handler.formatter))
                handler.addFilter(lambda record: record.name.startswith(_RUNS) and least <= record.levelno < logging.ERROR)
