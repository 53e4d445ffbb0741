"""`aiinfra pull`: what is current, here and at a service, verified, whole or not at all, and each refusal with its exit code."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.evidence.routing import check
from aiinfra_core.keys import trust_of
from aiinfra_core.settings import Settings
from tests.simulators import command_line, trust_files
from tests.simulators.command_line import Run
from tests.simulators.http_story import open_to_debug, stored
from tests.simulators.service import AS_DEBUG, serving

installation, run = command_line.installation, command_line.run


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def current(installation: Settings, run: Run, tmp_path: Path) -> Path:
    """Make a model current in prod; return where the store has its bytes."""
    kept = stored(installation, tmp_path, model="rain")
    assert run(f"register --model rain --uri {kept['artifactUri']} --checksum {kept['checksum']}").code == 0
    assert run("promote rain --to prod --metric quality=0.9").code == 0
    return Path(kept["artifactUri"].removeprefix("file://"))


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
    with serving(settings) as url:
        yield url


def key_of(settings: Settings) -> str:
    return shlex.quote(trust_of(settings).keys[0].public_key)


def test_what_is_current_comes_with_the_routing_that_names_it(
    installation: Settings, current: Path, run: Run, server: str, tmp_path: Path
) -> None:
    here = run(f"pull rain@production --out {tmp_path / 'here'} --json").json
    there = run(f"pull rain@prod --out {tmp_path / 'there'} --json --server {server} --key {key_of(installation)}").json
    assert {**here, "path": "", "routing": ""} == {**there, "path": "", "routing": ""}
    assert (here["version"], here["environment"], here["sequence"], here["changes"]) == (1, "prod", 1, 0)
    for pulled in (here, there):
        assert Path(pulled["path"]).read_bytes() == current.read_bytes()
        assert sorted(path.name for path in Path(pulled["path"]).parent.iterdir()) == ["routing.json", current.name]
        said = check(Path(pulled["routing"]).read_bytes(), trust_of(installation), environment="prod", model="rain", now=datetime.now(UTC))
        assert said.champion.checksum == pulled["checksum"]


def test_it_says_in_words_what_was_taken(current: Path, run: Run, tmp_path: Path) -> None:
    ran = run(f"pull rain@prod --out {tmp_path / 'out'}")
    assert f"{tmp_path / 'out' / current.name} is rain:1, current in prod; bytes and signatures verify." in ran.out


def test_changed_bytes_are_refused_and_nothing_is_left(current: Path, run: Run, tmp_path: Path) -> None:
    current.chmod(0o644)
    current.write_text("evil")
    before = sorted(tmp_path.iterdir())
    ran = run(f"pull rain@prod --out {tmp_path / 'out'}")
    assert (ran.code, "not the ones that were stored" in ran.error) == (ExitCode.BAD_INPUT, True)
    assert sorted(tmp_path.iterdir()) == before


def test_a_service_is_believed_only_under_a_key_that_was_pinned(
    installation: Settings, current: Path, run: Run, server: str, tmp_path: Path
) -> None:
    line = f"pull rain@prod --out {tmp_path / 'out'} --server {server}"
    unpinned = run(line)
    assert (unpinned.code, "whose promotions count" in unpinned.error) == (ExitCode.MISCONFIGURED, True)
    assert "--key BASE64" in unpinned.error
    assert "`aiinfra keys show`" in unpinned.error
    other = run(f"{line} --key {shlex.quote(trust_files.signer('other').public_key.base64)}")
    assert (other.code, "not trusted here" in other.error) == (ExitCode.EVIDENCE_BROKEN, True)
    both = run(f"{line} --key {key_of(installation)} --trust-root 1.root.json")
    assert (both.code, "give one of them" in both.error) == (ExitCode.BAD_INPUT, True)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_replaced_and_what_is_not_current_is_not_found(current: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    taken = run(f"pull rain@prod --out {tmp_path / 'out'}")
    assert (taken.code, "exists already" in taken.error) == (ExitCode.BAD_INPUT, True)
    for line, why in (
        ("pull rain@staging", "Nothing is current for rain in staging"),
        ("pull rain", "MODEL@ENVIRONMENT"),
        ("pull rain@moon", "no environment 'moon'"),
    ):
        ran = run(f"{line} --out {tmp_path / 'new'}")
        assert (ran.code, why in ran.error) == (ExitCode.BAD_INPUT, True), ran.error
