"""Rules judged in a process of their own, which can reach nothing and is killed when it takes too long.

One such process is kept warm for each of ours; whoever asks waits their turn. What it gives up is in `confinement`, what it answers in
`worker`. Rules, reasons and stages are in `judging`.
"""

import atexit
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiinfra_core.domain.promotion import Stage
from aiinfra_core.errors import Unavailable
from aiinfra_core.rules import judging, worker
from aiinfra_core.rules.document import Policy
from aiinfra_core.rules.expressions import ERROR, NOT_FINITE, Told
from aiinfra_core.rules.judging import Outcome

START_SECONDS = 10.0
_CHUNK = 1 << 16


class _Ended(Exception):
    """The worker died, or has to."""


@dataclass(frozen=True)
class _Stopped:
    """How the judging ended before its time: how many expressions were begun, and whether there was no time left."""

    begun: int
    too_slow: bool


class _Worker:
    """A running worker process and our ends of its pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - no shell
            [sys.executable, "-I", "-S", worker.__file__, *_folders()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env={},
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr  # noqa: S101 - all are pipes; this tells the type checker
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in (self.process.stdin, self.process.stdout, self.process.stderr))
        for pipe in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(pipe, False)

    def ask(self, message: bytes, deadline: float) -> bytes:
        """Send a message and return its answer.

        Raises:
            _Ended: there is none until the deadline, or ever.
        """
        left = memoryview(len(message).to_bytes(worker.LENGTH_BYTES, "big") + message)
        while left:
            try:
                left = left[os.write(self.stdin, left) :]
            except BlockingIOError:
                _wait(self.stdin, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise _Ended from None
        answer = self.read(worker.LENGTH_BYTES, deadline)
        size = worker.LENGTH_BYTES + int.from_bytes(answer[: worker.LENGTH_BYTES], "big")
        while len(answer) < size:
            answer += self.read(size - len(answer), deadline)
        return answer[worker.LENGTH_BYTES :]

    def read(self, least: int, deadline: float) -> bytes:
        """Return at least so many bytes of its answer, and what else is there."""
        data = b""
        while len(data) < least:
            _wait(self.stdout, select.POLLIN, deadline)
            part = os.read(self.stdout, _CHUNK)
            if not part:
                raise _Ended
            data += part
        return data

    def begun(self) -> int:
        """Return how many expressions it has begun since this was asked last."""
        return self.said().count(worker.BEGUN)

    def said(self) -> bytes:
        """Return what it wrote on standard error since this was asked last."""
        with suppress(BlockingIOError):
            return os.read(self.stderr, _CHUNK)
        return b""

    def end(self, *, kill: bool = True) -> None:
        """Let go of it; a process that was forked off must not kill what belongs to its parent."""
        if kill:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        self.process.returncode = self.process.returncode or 0


def _wait(pipe: int, event: int, deadline: float) -> None:
    waiting = select.poll()
    waiting.register(pipe, event)
    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise _Ended


class _State:
    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.worker: _Worker | None = None


_state = _State()


def judge(policy: Policy, inputs: Mapping[str, Any], stage: Stage, seconds: float) -> list[Outcome]:
    """Return what each rule of a policy says about plain JSON values, in the policy's order, all of them told in so many seconds.

    Where that was not enough, the rule that took too long stands first, and none of them is a yes.

    Raises:
        Unavailable: no such process could be started.
    """
    rules = judging.rules_of(policy, stage, inputs)
    text = judging.written(inputs)
    if text is None:
        return judging.outcomes(policy, rules, inputs, [(ERROR, NOT_FINITE)] * len(rules))
    told = _told([rule.expression for rule in rules], text, seconds)
    if isinstance(told, list):
        return judging.outcomes(policy, rules, inputs, told)
    at = max(0, min(told.begun, len(rules)) - 1)
    cause = f"it took longer than {seconds:g} s" if told.too_slow else "the process that judged it broke down"
    others = (ERROR, f"it was not judged, because {rules[at].id} stopped everything")
    stopped = judging.outcomes(policy, rules, inputs, [(ERROR, cause) if number == at else others for number in range(len(rules))])
    return [stopped[at], *stopped[:at], *stopped[at + 1 :]]


def process_id() -> int | None:
    """Return the id of the process that is kept warm, None where there is none."""
    running = _state.worker
    return running.process.pid if running else None


def stop() -> None:
    """End the process that is kept warm; the next rules get a new one."""
    with _state.turn:
        _drop()


def _told(expressions: Sequence[str], inputs: bytes, seconds: float) -> list[Told] | _Stopped:
    head = json.dumps({"seconds": seconds, "expressions": expressions}).encode()
    message = head[:-1] + b',"inputs":' + inputs + b"}"
    with _state.turn:
        told = _answer(message, seconds)
        # Somebody killed it while it had nothing to do.
        return _answer(message, seconds) if told == _Stopped(begun=0, too_slow=False) else told


def _answer(message: bytes, seconds: float) -> list[Told] | _Stopped:
    running = _running()
    running.begun()
    deadline = time.monotonic() + seconds
    try:
        return [(verdict, cause) for verdict, cause in json.loads(running.ask(message, deadline))]
    except _Ended:
        stopped = _Stopped(running.begun(), time.monotonic() >= deadline)
        _drop()
        return stopped
    except BaseException:
        _drop()  # the answer that is under way would be taken for the next one's
        raise


def _running() -> _Worker:
    if _state.worker is not None and _state.worker.process.poll() is None:
        return _state.worker
    _drop()
    try:
        _state.worker = _Worker()
        _state.worker.read(1, time.monotonic() + START_SECONDS)
    except (_Ended, OSError) as error:
        said = _state.worker.said().decode(errors="replace").splitlines() if _state.worker else [str(error)]
        _drop()
        why = said[-1] if said else "it takes too long"
        raise Unavailable("policy", f"The process that judges policies could not be started: {why}.") from error
    return _state.worker


def _drop() -> None:
    if _state.worker is not None:
        _state.worker.end()
        _state.worker = None


def _folders() -> list[str]:
    package = importlib.util.find_spec("cel")
    found = package.submodule_search_locations if package else None
    return [str(Path(__file__).parents[2]), *(str(Path(folder).parent) for folder in found or ())]


# A lock that another thread held while this process was forked off would never be given back.
def _forget() -> None:
    global _state
    if _state.worker is not None:
        _state.worker.end(kill=False)
    _state = _State()


atexit.register(stop)
os.register_at_fork(after_in_child=_forget)
