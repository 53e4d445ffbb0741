"""Run the runner in a forked child until nothing is left to do, and end it by SIGKILL at the n-th call to the database of its worker.

Started by test_killed_runner; reads one JSON line per run, `{"at": n, "environment": {...}}`, and answers each with
`{"signal": 9 | 0, "exit": code, "calls": n}`. The calls of the threads that only look after leases are not counted.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from sqlalchemy import Engine, event, select

from aiinfra_core import database, running
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.settings import Settings
from aiinfra_core.tables import training_jobs
from aiinfra_core.work_tables import job_leases


def _all_done(settings: Settings) -> bool:
    waiting = select(training_jobs.c.id).where(training_jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))
    with database.transaction(settings) as tx:
        held = tx.execute(select(job_leases.c.job_id).where(job_leases.c.holder.is_not(None))).first()
        return held is None and tx.execute(waiting).first() is None


def _run_until(at: int, report: Path) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        if not threading.current_thread().name.startswith("runner "):
            return
        calls += 1
        report.write_text(str(calls))
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    settings, stop = Settings(), threading.Event()
    runner = threading.Thread(target=running.run, args=(settings, stop), name="the runner itself")
    runner.start()
    while not _all_done(settings):
        stop.wait(0.1)
    stop.set()
    runner.join()


def main() -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        run = json.loads(line)
        report = Path(run["environment"]["AI_INFRA_HOME"]) / "calls"
        report.parent.mkdir(exist_ok=True)
        report.write_text("0")
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(run["environment"], AI_INFRA_LEASE_SECONDS="1", AI_INFRA_TRAINING_ATTEMPTS="9")
                _run_until(run["at"], report)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        answer = {"signal": killed, "exit": os.waitstatus_to_exitcode(status), "calls": int(report.read_text())}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
