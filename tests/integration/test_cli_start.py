"""The command line around its commands: help, keys, starting parts, interruptions, readers that leave."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.cli import app, output
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import command_line, git_repository
from tests.simulators.command_line import Run, train_line

PROJECT = Path(__file__).parents[2]
installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run


def test_a_database_without_migrations_is_exit_code_6_until_migrated(
    empty_database_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    failed = run("models list")
    assert (failed.code, "type: aiinfra migrate" in failed.error) == (6, True)
    assert "Next: aiinfra migrate" in run("status").out
    assert "Next: aiinfra migrate" in run("init").out
    assert "001_init" in run("migrate --json").json["applied"]
    assert run("migrate").out == "The database has every migration.\n"
    assert run("models list --json").json == []


@pytest.mark.parametrize("line", ["models list", "status", "keys show", "init", "migrate", "up"])
def test_production_takes_no_development_part(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("AI_INFRA_ENV", "production")
    failed = run(line)
    assert (failed.code, "AI_INFRA_DATABASE_URL" in failed.error) == (6, True)
    assert not home.exists()


def test_with_nothing_configured_init_makes_everything_once_and_status_starts_nothing(run: Run, home: Path) -> None:
    before = run("status")
    assert (before.code, "embedded, not running" in before.out, home.exists()) == (0, True, False)
    assert run("init --json").json["made"] == ["home", "database", "key"]
    again = run("init")
    assert "Everything was there already." in again.out
    assert run("keys show --json").json["development"] is True
    assert run("status --json").json["servers"] == {"postgres": True, "prefect": None}
    assert run("down --json").json == {"stopped": ["postgres"]}
    assert run("down").out == "Stopped: nothing ran.\n"


def test_up_takes_the_configured_prefect_server(installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    assert run("up --json").json["prefectUi"] == "https://prefect.example"


def test_a_new_key_signs_and_is_alone_on_standard_output(installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("keys generate")
    public = local.from_base64(made.out).public_key
    assert made.out.count("\n") == 1
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", made.out.strip())
    assert run("keys show --json").json["keyid"] == public.keyid
    pair = run("keys generate --json").json
    assert local.from_base64(pair["keyB64"]).public_key.base64 == pair["publicKeyB64"]


def test_the_script_makes_a_key_the_product_takes() -> None:
    keys = {
        subprocess.run([PROJECT / "scripts" / "generate-ed25519-key.sh"], capture_output=True, text=True, check=True).stdout for _ in (1, 2)
    }
    assert len({local.from_base64(key).public_key for key in keys}) == 2


def test_output_cannot_steer_the_terminal() -> None:
    assert output.printable("a\x1b[2Jb\u202ec") == "a [2Jb c"


def test_help_is_quick_and_imports_no_heavy_library() -> None:
    heavy = ("sqlalchemy", "psycopg", "s3fs", "httpx", "sklearn", "prefect", "cryptography", "pydantic", "yaml", "cel")
    code = (
        f"import sys; from aiinfra_core.cli.app import main; main(['--help']); print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"│ {name} " in done.stdout for name in app.COMMANDS)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_help_and_its_examples_are_typed_right(run: Run, name: str) -> None:
    assert run(f"{name} --help").out.startswith("Usage: aiinfra")
    for example in app.COMMANDS[name].examples:
        command, bound, _ = app.aiinfra().parse_args(shlex.split(example.replace("\\\n", " "))[1:], exit_on_error=False, print_error=False)
        assert command.__name__.removesuffix("_") == name  # a name Python keeps for itself has one
        assert bound.signature.parameters.keys() >= bound.arguments.keys()


def test_the_documentation_names_every_command_and_exit_code() -> None:
    text = (PROJECT / "docs" / "cli.md").read_text()
    assert [name for name in app.COMMANDS if f"`{name}" not in text] == []
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(int(code)) for code in ExitCode]


def test_ctrl_c_stops_a_training_with_exit_code_130_and_the_same_command_takes_it_up_again(
    installation: Settings, run: Run, tmp_path: Path, repository: Path
) -> None:
    waiting = tmp_path / "waiting"
    git_repository.write_files(
        repository,
        {
            "slow.py": f"""
import pathlib, runpy, sys, time
print("waiting", flush=True)
while not pathlib.Path({str(waiting)!r}).exists():
    time.sleep(0.05)
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""
        },
    )
    git_repository.commit(repository)
    line = train_line(repository, "--json", entry_point="slow.py")
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *shlex.split(line)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, start_new_session=True)
    try:
        assert process.stderr is not None
        while "waiting" not in (said := process.stderr.readline()):
            assert said, "it ended before it trained"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    assert err.strip().splitlines()[-1].startswith("aiinfra: Interrupted")
    assert "Traceback" not in err
    waiting.touch()
    begun = time.monotonic()
    taken_up = run(line)
    assert (taken_up.code, taken_up.json["status"]) == (0, "completed")
    assert time.monotonic() - begun < 20


def test_a_reader_who_stops_reading_gets_no_traceback(registered: dict[str, Any]) -> None:
    code = "import sys; from aiinfra_core.cli.app import main; sys.stdin.read(); sys.exit(main(['models', 'list', '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate("", timeout=30)
    assert (process.returncode, err) == (141, "")
