"""Run the pipeline in a forked child and end it by SIGKILL at its n-th task boundary: before its first task, after it, and so on.

Started by test_killed_flows; reads one JSON line per run, `{"at": n, "engine": bool, "parameters": {...}, "environment": {...}}`, and
answers each with `{"signal": 9 | 0, "exit": code, "boundaries": n}`. Importing happens once. Without the engine the flows and tasks
are called as the plain functions they are, which is quicker by far; the tasks that only show something in the UI are left out.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import Flow, State, Task

import tasks.training
from flows.pipeline import pipeline

Call = Callable[..., Any]


def _killing(call: Call, at: int, report: Path) -> Call:
    """Return a way to call a task that counts its two boundaries and dies at one of them."""
    boundaries = 0

    def boundary() -> None:
        nonlocal boundaries
        boundaries += 1
        report.write_text(str(boundaries))
        if boundaries == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def called(task: Task[..., Any], *arguments: Any, **named: Any) -> Any:
        boundary()
        result = call(task, *arguments, **named)
        boundary()
        return result

    return called


def _task_alone(task: Task[..., Any], *arguments: Any, **named: Any) -> Any:
    return None if task.fn.__module__ == "tasks.summaries" else task.fn(*arguments, **named)


def _flow_alone(flow: Flow[..., Any], *arguments: Any, **named: Any) -> Any:
    ended = flow.fn(*arguments, **named)
    return ended.data if isinstance(ended, State) else ended


def _child(run: dict[str, Any], report: Path) -> None:
    os.environ.update(run["environment"])
    if run["engine"]:
        kept: Call = Task.__call__
    else:
        kept = _task_alone
        Flow.__call__ = _flow_alone  # type: ignore[method-assign,assignment]  # this process is a test
        vars(tasks.training)["show_training_output"] = lambda: lambda _line: None  # the real one needs a run
    Task.__call__ = _killing(kept, run["at"], report)  # type: ignore[method-assign]  # this process is a test
    pipeline(**pipeline.validate_parameters(run["parameters"]))
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        run = json.loads(line)
        report = Path(run["environment"]["AI_INFRA_HOME"]) / "boundaries"
        report.parent.mkdir(exist_ok=True)
        report.write_text("0")
        child = os.fork()
        if child == 0:
            try:
                _child(run, report)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer = {"signal": killed, "exit": os.waitstatus_to_exitcode(status), "boundaries": int(report.read_text())}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
