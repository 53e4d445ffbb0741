"""Reproduce a trained model, in a forked child that is killed as `killed_at` says; started by test_killed_reproduction."""

import os
import signal

from aiinfra_core import reproducing
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.settings import Settings
from tests.faults import killed_at


def story(settings: Settings) -> None:
    """Reproduce `rows:1` under one request id; with `kill-in-training` in the home, die as the training prints its first line."""
    mark = settings.home / "kill-in-training"

    def listen(_: str) -> None:
        if mark.exists():
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    request = ReproductionRequest(artifact="rows:1", reproduced_by="rosa", request_id="once")
    reproducing.reproduce(settings, request, on_output=listen)


if __name__ == "__main__":
    killed_at.main(story)
