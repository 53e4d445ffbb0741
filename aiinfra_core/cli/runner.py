"""`runner`: runs the trainings that wait, in the foreground until it is told to stop."""

import signal
import sys
import threading
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import note, say
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.errors import BadInput


def runner(
    *,
    at_once: Annotated[
        int | None, Parameter(help="How many trainings at the same time; without it AI_INFRA_RUNNER_CONCURRENCY, else 1.")
    ] = None,
) -> ExitCode:
    """Run queued trainings until SIGTERM or Ctrl-C; what cannot be finished in AI_INFRA_DRAIN_SECONDS is given back."""
    if at_once is not None and not 1 <= at_once <= 64:
        raise BadInput("--at-once must be from 1 to 64.")
    settings = running_parts(always_here=True)
    if at_once is not None:
        settings = settings.model_copy(update={"runner_concurrency": at_once})
    from aiinfra_core import running  # imported late: --help needs no signer and no store
    from aiinfra_core.http_api import logs

    stop = threading.Event()

    def told(_number: int, _frame: Any) -> None:
        note("Stopping: trainings end, or are given back.")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    logs.configure(settings)
    if settings.prefect_deployment:
        say(f"Trainings are runs of {settings.prefect_deployment}; those that are lost are started again.")
    else:
        say(f"Running trainings, up to {settings.runner_concurrency} at a time.")
    sys.stdout.flush()
    running.run(settings, stop)
    return ExitCode.OK
