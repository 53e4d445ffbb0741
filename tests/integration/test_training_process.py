"""Training runs the committed entry point in a process with nothing inherited, and takes nothing that is not as it should be."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import checksums
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.errors import BadInput, DigestMismatch, Unavailable
from aiinfra_core.training import execute as execute_module
from aiinfra_core.training import process
from aiinfra_core.training.execute import TrainingRun, execute
from tests.simulators.git_repository import COMMITTED_AT, repository

HEAD = """
import json, os, sys, time
from pathlib import Path
at = dict(zip(sys.argv[1::2], map(Path, sys.argv[2::2])))
inputs = json.loads(at["--inputs"].read_text())
output, metrics = at["--output"], at["--metrics"]
def put(name="model.bin", text="model"):
    (output / name).write_text(text)
"""
GOOD = "put(); metrics.write_text('{\"quality\": 0.9}'); print('done')"

Train = Callable[..., TrainingRun]


def spec_for(ref: str, **fields: Any) -> TrainingSpec:
    given = {"model": "rows", "code_ref": ref, "container_digest": f"sha256:{'0' * 64}", "entry_point": "train.py", "seed": 7}
    return TrainingSpec.model_validate(given | fields)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Commit a script after `HEAD` and train with it; other arguments are fields of the spec, or `execute`'s."""

    def run(script: str, *, timeout_seconds: float = 60.0, on_output: Callable[[str], None] = lambda _: None, **fields: Any) -> TrainingRun:
        ref = repository(tmp_path / "source", {"train.py": HEAD + script})
        return execute(
            spec_for(ref, **fields),
            scratch=tmp_path / "scratch",
            cache=tmp_path / "cache",
            timeout_seconds=timeout_seconds,
            on_output=on_output,
        )

    return run


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


def test_a_training_gives_its_output_metrics_log_and_record(train: Train, tmp_path: Path) -> None:
    run = train(GOOD)
    assert run.error is None
    assert (run.executor, run.exit_code, run.metrics) == ("process", 0, {"quality": 0.9})
    assert run.output and run.output.name == "model.bin"
    assert run.output.read_text() == "model"
    assert run.log and run.log.read_text() == "done\n"
    assert run.started_at <= run.finished_at
    record = json.loads(run.training_record)
    assert record["commit"] == run.commit
    assert record["environment"]["digest"] == run.environment_digest
    assert record["spec"]["seed"] == 7


def test_several_files_are_a_directory(train: Train) -> None:
    run = train("put('a'); (output / 'b').mkdir(); put('b/c')")
    assert run.output and sorted(path.name for path in run.output.rglob("*")) == ["a", "b", "c"]


def test_an_entry_point_may_be_in_a_folder_and_import_its_neighbours(tmp_path: Path) -> None:
    ref = repository(tmp_path / "source", {"lib/train.py": f"{HEAD}\nimport near; put(text=near.WORD)", "lib/near.py": "WORD = 'near'"})
    run = execute(
        spec_for(ref, entry_point="lib/train.py"), scratch=tmp_path / "s", cache=tmp_path / "c", timeout_seconds=60, on_output=print
    )
    assert run.error is None
    assert run.output and run.output.read_text() == "near"


def test_the_script_gets_its_inputs_and_its_datasets(train: Train, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"1,2,3")
    ref = DatasetRef(name="rows", uri=str(tmp_path / "rows"), sha256=checksums.sha256_hex(b"1,2,3"))
    script = "put(text=json.dumps([inputs['model'], inputs['seed'], inputs['hyperparams'], Path(inputs['datasets']['rows']).read_text()]))"
    run = train(script, hyperparams={"depth": 3, "rate": 0.1}, dataset_refs=[ref])
    assert run.output and json.loads(run.output.read_text()) == ["rows", 7, {"depth": 3, "rate": 0.1}, "1,2,3"]


def test_a_dataset_in_the_repository_is_named_by_its_path_there(tmp_path: Path) -> None:
    ref = repository(
        tmp_path / "source", {"train.py": f"{HEAD}\nput(text=Path(inputs['datasets']['rows']).read_text())", "data/r.csv": "1,2"}
    )
    data = DatasetRef(name="rows", uri="data/r.csv", sha256=checksums.sha256_hex(b"1,2"))
    run = execute(spec_for(ref, dataset_refs=[data]), scratch=tmp_path / "s", cache=tmp_path / "c", timeout_seconds=60, on_output=print)
    assert run.output and run.output.read_text() == "1,2"


def test_nothing_of_our_environment_is_inherited(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AI_INFRA_SIGNER_KEY_B64", "AWS_SECRET_ACCESS_KEY", "HARMLESS", "PYTHONPATH", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "hunter2")
    run = train("put(text=json.dumps(dict(os.environ)))")
    assert run.output
    seen = json.loads(run.output.read_text())
    assert "hunter2" not in str(seen)
    assert seen.keys() == process.variables(Path("x"), 7, 0).keys() | {"PWD"} & seen.keys()
    assert seen["SOURCE_DATE_EPOCH"] == str(COMMITTED_AT)
    assert seen["PYTHONHASHSEED"] == seen["AI_INFRA_SEED"] == "7"
    assert seen["OMP_NUM_THREADS"] == seen["OPENBLAS_NUM_THREADS"] == "1"
    assert (seen["TZ"], seen["LC_ALL"]) == ("UTC", "C.UTF-8")


def test_no_open_file_of_ours_is_inherited(train: Train, tmp_path: Path) -> None:
    run = train(
        "opened = [Path(f'/proc/self/fd/{n}') for n in range(50)]; put(text=json.dumps([os.readlink(p) for p in opened if p.is_symlink()]))"
    )
    assert run.output
    opened = json.loads(run.output.read_text())
    assert len(opened) == 3
    assert opened[0] == "/dev/null"
    assert not any(str(tmp_path) in name for name in opened)


def test_the_same_inputs_give_the_same_bytes_in_two_directories(tmp_path: Path) -> None:
    script = (
        "import random; put(text=repr([sys.argv, inputs, sorted({'a','b','c'}, key=hash), time.tzname, os.environ['SOURCE_DATE_EPOCH']]))"
    )
    ref = repository(tmp_path / "source", {"train.py": HEAD + script})
    runs = [
        execute(spec_for(ref), scratch=tmp_path / name, cache=tmp_path / f"cache-{name}", timeout_seconds=60, on_output=print)
        for name in ("one", "somewhere/else")
    ]
    assert runs[0].output and runs[1].output
    assert runs[0].output.read_bytes() == runs[1].output.read_bytes()
    assert runs[0].training_record == runs[1].training_record


def test_each_line_is_handed_on_while_the_training_runs(train: Train, tmp_path: Path) -> None:
    said: list[str] = []

    def answer(line: str) -> None:
        said.append(line)
        (tmp_path / "go").touch()

    run = train(
        f"print('waiting', file=sys.stderr)\nwhile not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(.02)\nput(); print('went on')",
        on_output=answer,
        timeout_seconds=30,
    )
    assert run.error is None
    assert said == ["waiting", "went on"]
    assert run.log and run.log.read_text() == "waiting\nwent on\n"


def test_a_missing_entry_point_is_bad_input(train: Train) -> None:
    with pytest.raises(BadInput, match=r"no file other\.py"):
        train(GOOD, entry_point="other.py")


def test_a_dataset_with_other_bytes_stops_the_training(train: Train, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"changed")
    with pytest.raises(DigestMismatch, match="rows"):
        train(GOOD, dataset_refs=[DatasetRef(name="rows", uri=str(tmp_path / "rows"), sha256="0" * 64)])


def test_an_unknown_commit_stops_the_training(tmp_path: Path) -> None:
    ref = repository(tmp_path / "source", {"train.py": GOOD})
    with pytest.raises(BadInput, match="no commit"):
        execute(spec_for(f"{ref[:-40]}{'1' * 40}"), scratch=tmp_path / "s", cache=tmp_path / "c", timeout_seconds=9, on_output=print)


@pytest.mark.parametrize(
    ("script", "exit_code", "reason"),
    [
        ("raise ValueError('no such column')", 1, "ended with exit code 1 and its last words were 'ValueError: no such column'"),
        ("print('giving up'); sys.exit(3)", 3, "ended with exit code 3 and its last words were 'giving up'"),
        ("put(); os._exit(4)", 4, "ended with exit code 4 and it said nothing"),
        ("put(); os.kill(os.getpid(), 9)", 137, "ended with exit code 137"),
        ("this is no python", 1, "SyntaxError"),
        ("print('fine')", 0, "wrote nothing"),
        ("put(); (output / 'link').symlink_to('/etc/passwd')", 0, "symbolic link"),
        ("put(); (output / '..' / 'evil').write_text('x')", 0, "touched 'evil'"),
        ("put('../evil')", 0, "touched 'evil'"),
        ("put(); Path('beside.txt').write_text('x')", 0, r"touched 'code/beside\.txt'"),
        ("put(); Path(sys.argv[0]).write_text('x')", 0, r"touched 'code/train\.py'"),
        ("put(); at['--inputs'].write_text('{}')", 0, r"touched 'inputs\.json'"),
        ("put(); os.mkfifo(output / 'pipe')", 0, "no ordinary file"),
        ("put('two\\nlines')", 0, "rename it"),
        ("put(); metrics.write_text('{\"quality\": NaN}')", 0, "NaN"),
        ('put(); metrics.write_text(\'{"quality": "0.9"}\')', 0, "as str"),
        ('put(); metrics.write_text(\'{"quality": {"auc": 0.9}}\')', 0, "as dict"),
        ("put(); metrics.mkdir()", 0, "no ordinary file"),
    ],
)
def test_a_training_that_goes_wrong_is_a_result_with_a_reason(train: Train, script: str, exit_code: int, reason: str) -> None:
    run = train(script)
    assert run.error
    assert "\n" not in run.error
    with pytest.raises(BadInput, match=reason):
        raise BadInput(run.error)
    assert (run.exit_code, run.output, run.metrics) == (exit_code, None, None)
    assert run.log and run.log.exists()
    assert json.loads(run.training_record)["commit"] == run.commit


def test_a_training_without_metrics_is_no_error(train: Train) -> None:
    run = train("put()")
    assert (run.error, run.metrics) == (None, None)


def test_a_dataset_changed_by_the_training_is_noticed_and_fetched_again(train: Train, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"1,2,3")
    ref = DatasetRef(name="rows", uri=str(tmp_path / "rows"), sha256=checksums.sha256_hex(b"1,2,3"))
    spoil = "p = Path(inputs['datasets']['rows']); os.chmod(p, 0o644); put(text=p.read_text()); p.write_text('spoiled')"
    assert "datasets/rows" in (train(spoil, dataset_refs=[ref]).error or "")
    again = train("put(text=Path(inputs['datasets']['rows']).read_text())", dataset_refs=[ref])
    assert again.output and again.output.read_text() == "1,2,3"


FAMILY = """
import subprocess
sleep = [sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']
for own_session in (False, True):
    subprocess.Popen([*sleep, os.environ['HOME']], start_new_session=own_session)
"""


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
    monkeypatch.setattr(execute_module, "WAIT_FOR_SCRATCH_SECONDS", 0.3)
    try:
        with pytest.raises(Unavailable, match="still running"):
            execute(spec, scratch=tmp_path / "scratch", cache=tmp_path / "cache", timeout_seconds=60, on_output=print)
    finally:
        os.killpg(held[0], signal.SIGCONT)
    monkeypatch.undo()
    assert execute(spec, scratch=tmp_path / "scratch", cache=tmp_path / "cache", timeout_seconds=60, on_output=print).error is None


def test_two_trainings_do_not_share_a_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute_module, "WAIT_FOR_SCRATCH_SECONDS", 0.2)
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
