"""The development key is made once, whole, for its owner alone."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core.embedded import development_key
from aiinfra_core.errors import Misconfigured


def seed_in(path: Path) -> bytes:
    return base64.b64decode("".join(line for line in path.read_text().splitlines() if not line.startswith("#")), validate=True)


def test_the_key_is_a_marked_32_byte_seed_for_its_owner_alone(home: Path) -> None:
    path = development_key.ensure(home)
    assert path == home / "development.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert path.read_text().startswith("# development key")
    assert len(seed_in(path)) == 32
    assert development_key.is_development_key(path)


def test_the_key_is_made_once(home: Path) -> None:
    first = development_key.ensure(home).read_bytes()
    assert development_key.ensure(home).read_bytes() == first


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    assert seed_in(development_key.ensure(tmp_path / "a")) != seed_in(development_key.ensure(tmp_path / "b"))


def test_eight_racing_processes_get_one_key(home: Path) -> None:
    gate = home.parent / "go"
    program = (
        "import sys, time, pathlib; from aiinfra_core.embedded import development_key\n"
        "home, gate = map(pathlib.Path, sys.argv[1:])\n"
        "print('ready', flush=True)\n"
        "while not gate.exists(): time.sleep(0.0005)\n"
        "print(development_key.ensure(home).read_text())"
    )
    racers = [subprocess.Popen([sys.executable, "-c", program, str(home), str(gate)], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    gate.touch()
    keys = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 8
    assert keys == {(home / "development.key").read_text().strip()}
    assert [path.name for path in home.iterdir()] == ["development.key"]


def test_a_key_others_can_read_is_refused_with_the_command_that_mends_it(home: Path) -> None:
    path = development_key.ensure(home)
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match=f"chmod 600 {path}"):
        development_key.ensure(home)


def test_an_ordinary_key_is_not_taken_for_a_development_key(tmp_path: Path) -> None:
    ordinary = tmp_path / "signing.key"
    ordinary.write_text(base64.b64encode(bytes(32)).decode())
    assert not development_key.is_development_key(ordinary)
    assert not development_key.is_development_key(tmp_path / "missing.key")
