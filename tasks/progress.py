"""How far a training is, in the Prefect UI: its output in the run's log, and a progress bar where the output tells a share."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

_PARTS = re.compile(r"\b(\d+)\s*(?:/|of)\s*(\d+)\b")
_PERCENT = re.compile(r"\b(\d+(?:\.\d+)?)\s?%")


def show_training_output() -> Callable[[str], None]:
    """Return what to call with each line a training prints; it must be called within the same run."""
    logger = get_run_logger()
    # Typed for callers inside an event loop too; a task that is a plain function gets the id itself.
    bar = cast("UUID", create_progress_artifact(0.0, key="training-progress", description="How far the training is"))
    shown = 0.0

    def show(line: str) -> None:
        nonlocal shown
        logger.info(line)
        done = percent_done(line)
        if done is not None and done >= shown + 1:
            shown = done
            # A training is not given up because its progress cannot be shown.
            with suppress(httpx.HTTPError):
                update_progress_artifact(bar, progress=done)

    return show


def percent_done(line: str) -> float | None:
    """Return the percentage a line such as `tree 50 of 200`, `epoch 3/10` or `12.5 %` tells; None when it tells none."""
    if parts := _PARTS.search(line):
        done, all_of_them = int(parts[1]), int(parts[2])
        return 100 * done / all_of_them if 0 < all_of_them >= done else None
    percent = _PERCENT.search(line)
    return float(percent[1]) if percent and float(percent[1]) <= 100 else None
