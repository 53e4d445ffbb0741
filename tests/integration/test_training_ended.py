"""A training is ended with all it started, whatever ended it or its caller, before another one takes its scratch."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import Unavailable
from aiinfra_core.training import process, scratch
from aiinfra_core.training.execute import execute
from tests.simulators.git_repository import repository
from tests.simulators.training_script import HEAD, Train, spec_for, train

__all__ = ["train"]

FAMILY = """
import subprocess
sleep = [sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']
for own_session in (False, True):
    subprocess.Popen([*sleep, os.environ['HOME']], start_new_session=own_session)
"""


def running_with(word: str) -> list[int]:
    """Return the processes, other than zombies, whose command line or environment holds a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = folder.joinpath("cmdline").read_bytes() + folder.joinpath("environ").read_bytes()
        except OSError:
            continue
        if word.encode() in told:
            found.append(int(folder.name))
    return found


def is_supervisor(pid: int) -> bool:
    return b"supervisor.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_training_that_hangs_is_ended_with_all_it_started(train: Train, tmp_path: Path) -> None:
    said: list[str] = []
    run = train(FAMILY + "print('hanging'); time.sleep(600)", timeout_seconds=1.5, on_output=said.append)
    assert run.error and "stopped after 1.5 seconds" in run.error
    assert said == ["hanging"]
    assert run.exit_code == 128 + signal.SIGTERM
    assert running_with(str(tmp_path / "scratch")) == []


def test_a_training_that_ignores_the_request_to_stop_is_killed(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)
    run = train("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", timeout_seconds=1)
    assert run.exit_code == 128 + signal.SIGKILL
    assert running_with(str(tmp_path / "scratch")) == []


def test_a_training_that_prints_without_end_is_stopped_too(train: Train) -> None:
    run = train("while True: print('x' * 1000)", timeout_seconds=1)
    assert run.error and "stopped after 1 seconds" in run.error


def test_what_a_finished_training_left_running_is_ended(train: Train, tmp_path: Path) -> None:
    run = train(FAMILY + "put()")
    assert run.error is None
    assert running_with(str(tmp_path / "scratch")) == []


def test_a_failing_listener_ends_the_training(train: Train, tmp_path: Path) -> None:
    def fail(line: str) -> None:
        raise RuntimeError("the listener failed")

    with pytest.raises(RuntimeError, match="listener"):
        train(FAMILY + "print('x'); time.sleep(600)", on_output=fail)
    assert running_with(str(tmp_path / "scratch")) == []


def killed_while_training(spec: TrainingSpec, folder: Path, before: Callable[[], None] = lambda: None) -> None:
    """Train in another process and kill that process once the entry point is ready."""
    program = (
        "from pathlib import Path; from aiinfra_core.domain.training import TrainingSpec\n"
        "from aiinfra_core.training.execute import execute\n"
        f"at, spec = Path({str(folder)!r}), TrainingSpec.model_validate_json({spec.model_dump_json()!r})\n"
        "execute(spec, scratch=at / 'scratch', cache=at / 'cache', timeout_seconds=600, on_output=lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout and killed.stdout.readline() == "ready\n"
        before()
        os.kill(killed.pid, signal.SIGKILL)


def hanging_until(go: Path, folder: Path) -> TrainingSpec:
    script = f"{HEAD}{FAMILY}\nput('left-over')\nos.chmod(output, 0)\nprint('ready', flush=True)\n"
    script += f"if not Path({str(go)!r}).exists(): time.sleep(600)\nos.chmod(output, 0o755); put(); (output / 'left-over').unlink()"
    return spec_for(repository(folder, {"train.py": script}))


def test_after_a_kill_the_same_call_works_again_and_nothing_is_left(tmp_path: Path) -> None:
    spec = hanging_until(tmp_path / "go", tmp_path / "source")
    killed_while_training(spec, tmp_path)
    (tmp_path / "go").touch()
    run = execute(spec, scratch=tmp_path / "scratch", cache=tmp_path / "cache", timeout_seconds=60, on_output=print)
    assert run.error is None
    assert run.output and run.output.name == "model.bin"
    assert running_with(str(tmp_path / "scratch")) == []


def test_after_a_kill_the_next_call_waits_until_the_old_training_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, held = hanging_until(tmp_path / "go", tmp_path / "source"), list[int]()

    def hold_the_supervisor() -> None:
        (family,) = {os.getpgid(pid) for pid in running_with(str(tmp_path / "scratch")) if is_supervisor(pid)}
        held.append(family)
        os.killpg(family, signal.SIGSTOP)

    killed_while_training(spec, tmp_path, hold_the_supervisor)
    (tmp_path / "go").touch()
    monkeypatch.setattr(scratch, "WAIT_FOR_SCRATCH_SECONDS", 0.3)
    try:
        with pytest.raises(Unavailable, match="still running"):
            execute(spec, scratch=tmp_path / "scratch", cache=tmp_path / "cache", timeout_seconds=60, on_output=print)
    finally:
        os.killpg(held[0], signal.SIGCONT)
    monkeypatch.undo()
    assert execute(spec, scratch=tmp_path / "scratch", cache=tmp_path / "cache", timeout_seconds=60, on_output=print).error is None


def test_two_trainings_do_not_share_a_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "WAIT_FOR_SCRATCH_SECONDS", 0.2)
    go = tmp_path / "go"
    waiting = f"{HEAD}print('ready')\nwhile not Path({str(go)!r}).exists(): time.sleep(.02)\nput()"
    spec = spec_for(repository(tmp_path / "source", {"train.py": waiting}))
    ready, runs = threading.Event(), []

    def first() -> None:
        runs.append(execute(spec, scratch=tmp_path / "s", cache=tmp_path / "c", timeout_seconds=60, on_output=lambda _: ready.set()))

    thread = threading.Thread(target=first)
    thread.start()
    assert ready.wait(30)
    with pytest.raises(Unavailable, match="still running"):
        execute(spec, scratch=tmp_path / "s", cache=tmp_path / "c", timeout_seconds=60, on_output=print)
    go.touch()
    thread.join()
    assert runs[0].error is None
