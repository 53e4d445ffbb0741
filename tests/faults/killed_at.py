"""Run register and promote (or another story) in a forked child and end it by SIGKILL at its n-th call to the database.

Started by test_killed_core, and by test_killed_upkeep through killed_upkeep; reads one JSON line per run,
`{"at": n, "environment": {...}}`, and answers each with `{"signal": 9 | 0, "calls": n}`. Importing happens once; each child makes its
own connections.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, event

from aiinfra_core import artifact_store, promoting, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.settings import Settings

Story = Callable[[Settings], None]


def story(settings: Settings) -> None:
    """Register one artifact, promote it to staging and to prod, and have a poor claim refused."""
    source = settings.home / "model.bin"
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")
    request = RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    artifact = registering.register(settings, request)
    for environment, quality in (("staging", 0.9), ("prod", 0.9), ("prod", 0.2)):
        promoting.promote(settings, _asked(artifact, environment, quality))


def _asked(artifact: Artifact, environment: str, quality: float) -> PromotionRequest:
    return PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by="paul")


def _run_until(at: int, story: Story) -> int:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    story(Settings())
    return calls


def _child(at: int, story: Story, environment: dict[str, str], report: Path) -> None:
    os.environ.update(environment)
    report.write_text(str(_run_until(at, story)))
    os._exit(0)


def main(story: Story) -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        run = json.loads(line)
        report = Path(run["environment"]["AI_INFRA_HOME"]) / "calls"
        report.write_text("0")
        child = os.fork()
        if child == 0:
            try:
                _child(run["at"], story, run["environment"], report)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        answer = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "exit": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(json.dumps(answer | {"calls": int(report.read_text())}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(story)
