"""Deliver a log in a forked child and end it by SIGKILL at its n-th step: a call to the database, or around one to a sink.

Started by test_killed_delivery; reads one JSON line per run, `{"at": n, "sinks": "...", "environment": {...}}`, and answers each with
`{"signal": 9 | 0, "exit": n, "steps": n}`. Importing happens once; each child makes its own connections.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from aiinfra_core import outbound
from aiinfra_core.artifact_store import local, objects
from aiinfra_core.audit_log.delivering import archive
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.settings import Settings


def _deliver_until(at: int, steps: Path) -> None:
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1
        steps.write_text(str(count))
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def surrounded(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **named: Any) -> Any:
            step()
            done = call(*arguments, **named)
            step()
            return done

        return stepping

    archive.PARALLEL = 1  # so that the n-th step is the same one each time
    event.listen(Engine, "before_cursor_execute", step)
    for module, name in ((outbound, "post"), (objects, "put"), (local, "publish")):
        setattr(module, name, surrounded(getattr(module, name)))
    deliver(Settings(), at_once=True)


def main() -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        run = json.loads(line)
        steps = Path(run["environment"]["AI_INFRA_HOME"]) / "steps"
        steps.parent.mkdir(exist_ok=True)
        steps.write_text("0")
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(run["environment"], AI_INFRA_AUDIT_SINKS=run["sinks"])
                _deliver_until(run["at"], steps)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        answer = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "exit": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(json.dumps(answer | {"steps": int(steps.read_text())}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
