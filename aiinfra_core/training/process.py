"""The `process` executor: runs an entry point with nothing inherited, a time limit, and its output captured.

It keeps accidents out, not attackers: the entry point runs as this user and can read every file this user can. It cannot look into this
process (`unreadable`), but whoever may train runs code as this account: it must own nothing they may not have. Judging what the entry
point wrote is in `outcome`; ending every process it started is in `supervisor`.
"""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.training import supervisor, unreadable
from aiinfra_core.training.captured_output import CapturedOutput

GRACE_SECONDS = 3.0
MODEL = "model"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Ended:
    """How an entry point ended; `exit_code` is 128 + N when signal N ended it."""

    exit_code: int
    timed_out: bool
    last_line: str


def prepare(spec: TrainingSpec | EvaluationSpec, folder: Path, datasets: Mapping[str, Path]) -> None:
    """Lay out the run directory around `folder/code`, which is already there.

    Raises:
        BadInput: the commit has no such entry point, or what the script is told has no JSON form.
    """
    if not (folder / "code" / _script(spec)).is_file():
        raise BadInput(f"The commit has no file {spec.entry_point}; correct the entry point, or commit the file.")
    for name in ("datasets", "output", "tmp", "home"):
        (folder / name).mkdir()
    for name, file in datasets.items():
        (folder / "datasets" / name).symlink_to(file.resolve())
    inputs = _told(spec) | {"seed": spec.seed, "datasets": {name: f"../datasets/{name}" for name in datasets}}
    (folder / "inputs.json").write_bytes(canonical_json.dumps(inputs))


def run(
    spec: TrainingSpec | EvaluationSpec,
    folder: Path,
    *,
    committed_at: int,
    log: Path,
    timeout_seconds: float,
    on_output: Callable[[str], None],
    keep_open: tuple[int, ...] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run the entry point in a prepared run directory until it ends, its time is up or it is stopped; no process of it is left.

    Args:
        spec: names the entry point and the seed.
        folder: the run directory.
        committed_at: when the code was committed, in seconds since 1970.
        log: where standard output and standard error are kept together.
        timeout_seconds: after this long it gets SIGTERM, and SIGKILL `GRACE_SECONDS` later.
        on_output: called with each line while it runs.
        keep_open: file descriptors that stay open until every process of the training is gone.
        stopped: asked several times a second whether to stop it now, as if its time were up.
    """
    unreadable.keep_unreadable()
    script = f"./{_script(spec)}"
    # All paths are relative, so a model that records its arguments is the same wherever it was trained.
    command = [sys.executable, script, "--inputs", "../inputs.json", "--output", "../output", "--metrics", "../metrics.json"]
    with (
        CapturedOutput(log, on_output) as output,
        subprocess.Popen(  # noqa: S603 - no shell
            [sys.executable, "-I", "-S", supervisor.__file__, str(GRACE_SECONDS), *command],
            cwd=folder / "code",
            env=variables(folder, spec.seed, committed_at),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            pass_fds=keep_open,
            umask=0o022,
        ) as running,
    ):
        timed_out = _follow(running, output, time.monotonic() + timeout_seconds, stopped)
        code = running.wait()
    return Ended(code if code >= 0 else 128 - code, timed_out, output.last_line)


def variables(folder: Path, seed: int, committed_at: int) -> dict[str, str]:
    """Return the whole environment of an entry point, built from nothing."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(committed_at),
        "AI_INFRA_SEED": str(seed),
        "PYTHONHASHSEED": str(seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(_ONE_THREAD, "1"),
    }


def check_ended_well(spec: TrainingSpec | EvaluationSpec, ended: Ended, timeout_seconds: float) -> None:
    """See that an entry point ended by itself and is content.

    Raises:
        BadInput: it was stopped, or ended with an exit code that says so.
    """
    if ended.timed_out:
        raise BadInput(f"{spec.entry_point} was stopped after {timeout_seconds:g} seconds; raise the time limit, or make it do less.")
    if ended.exit_code:
        said = f"its last words were {ended.last_line!r}" if ended.last_line else "it said nothing"
        raise BadInput(f"{spec.entry_point} ended with exit code {ended.exit_code} and {said}; read the log and mend it.")


def _told(spec: TrainingSpec | EvaluationSpec) -> dict[str, Any]:
    if isinstance(spec, TrainingSpec):
        return {"model": spec.model, "hyperparams": spec.hyperparams}
    return {"model": f"../{MODEL}", "parameters": spec.parameters}


def _script(spec: TrainingSpec | EvaluationSpec) -> PurePosixPath:
    return PurePosixPath(spec.entry_point or "")


def _follow(running: "subprocess.Popen[bytes]", output: CapturedOutput, deadline: float, stopped: Callable[[], bool]) -> bool:
    """Take in output until the process has ended; return whether it had to be stopped."""
    assert running.stdin and running.stdout  # noqa: S101 - both are pipes; this tells the type checker
    told = False
    with selectors.DefaultSelector() as readable:
        readable.register(running.stdout, selectors.EVENT_READ)
        while True:
            if readable.select(0.2 if told else min(0.2, max(0.0, deadline - time.monotonic()))):
                data = os.read(running.stdout.fileno(), 1 << 16)
                if not data:
                    break
                output.take(data)
            elif running.poll() is not None:
                break
            if not told and (time.monotonic() >= deadline or stopped()):
                told = True
                with suppress(BrokenPipeError):
                    running.stdin.write(b"s")
    output.finish()
    return told
