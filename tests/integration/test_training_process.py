"""Training runs the committed entry point in a process with nothing inherited, and takes nothing that is not as it should be."""

import json
from pathlib import Path

import pytest

from aiinfra_core import checksums
from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.errors import BadInput, DigestMismatch
from aiinfra_core.training import process
from aiinfra_core.training.execute import execute
from tests.simulators.git_repository import COMMITTED_AT, repository
from tests.simulators.training_script import HEAD, Train, spec_for, train

__all__ = ["train"]

GOOD = "put(); metrics.write_text('{\"quality\": 0.9}'); print('done')"


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
