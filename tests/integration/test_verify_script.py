"""`verify.sh`, the essentials with bash, coreutils, jq and openssl: it agrees with a good export and with no tampered one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core import approving
from aiinfra_core.evidence import bundle, checkpoint
from aiinfra_core.settings import Settings
from tests.integration.test_export_forgeries import FORGERIES
from tests.simulators import approvers, exports
from tests.simulators.exports import Known, copied, directory_model, exported, signed_again, with_trust
from tests.simulators.tampering import fitting, tampered

known = exports.known
SCRIPT = Path(bundle.__file__).with_name("verify.sh")
MISSING = [tool for tool in ("bash", "jq", "openssl", "basenc") if shutil.which(tool) is None]
COVERED = {4, 6, 9, 11, 13}

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING) and not os.environ.get("CI"), reason=f"{', '.join(MISSING)} is not installed"),
]


def _script(folder: Path, pinned: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), str(folder), str(pinned)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def received(known: Known) -> Iterator[Path]:
    folder = copied(known.export, known.export.with_name("received"))
    yield folder
    shutil.rmtree(folder)


def test_it_agrees_with_a_good_export_step_by_step(known: Known) -> None:
    ended = _script(known.export, known.pinned)
    assert (ended.returncode, ended.stderr) == (0, "")
    *steps, verdict = ended.stdout.splitlines()
    assert len(steps) == 7
    assert all(step.startswith("ok ") for step in steps)
    size = checkpoint.parse((known.export / bundle.CHECKPOINT).read_bytes()).size
    assert verdict.startswith(f"rainfall:1 was current in prod as of log entry {size}")


@pytest.mark.slow
def test_it_agrees_with_a_promotion_that_waited_for_people(settings: Settings, tmp_path: Path) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust")
    waits = approvers.asked(place, approvers.registered(place))
    mistaken, _ = approvers.agree(place, waits, "carol")
    approvers.take_back(place, mistaken)
    vouched, _ = approvers.agree_by_name(place, waits, "dora", "ml-lead")
    approving.withdraw(place, vouched.id, identity=approvers.vouched("dora", ["ml-lead"]))
    approvers.agree(place, waits, "alice")
    approvers.agree_by_name(place, waits, "dan", "ml-lead")
    assert place.trust_root is not None
    ended = _script(exported(place, "rainfall@prod", tmp_path / "out"), place.trust_root)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


@pytest.mark.slow
def test_it_agrees_with_a_directory_that_was_never_promoted(settings: Settings, tmp_path: Path) -> None:
    trusting = with_trust(settings)
    directory_model(trusting, tmp_path)
    assert trusting.trust_root is not None
    ended = _script(exported(trusting, "rainfall", tmp_path / "out"), trusting.trust_root)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


def test_another_root_of_trust_is_refused(known: Known, tmp_path: Path) -> None:
    other = with_trust(known.settings.model_copy(update={"home": tmp_path})).trust_root
    assert other is not None
    ended = _script(known.export, other)
    assert (ended.returncode, ended.stdout.split(":")[0]) == (1, "FAILED 1 trust")


def _missed(received: Path, pinned: Path, cases: list[tuple[Path, str]]) -> list[str]:
    missed = []
    for path, edit in cases:
        with tampered(received, path, edit):
            ended = _script(received, pinned)
        if ended.returncode != 1 or "FAILED" not in ended.stdout:
            missed.append(f"{edit}: {path.name}: {ended.returncode} {ended.stdout} {ended.stderr}")
    return missed


def _files(received: Path) -> list[Path]:
    return sorted(one for one in received.rglob("*") if one.is_file())


def _every_case(received: Path) -> list[tuple[Path, str]]:
    return [(path, edit) for path in _files(received) for edit in fitting(path)]


@pytest.mark.slow
def test_it_finds_changes_to_every_kind_of_file(received: Path, known: Known) -> None:
    first = {path.relative_to(received).parts[0]: path for path in reversed(_files(received))}
    edits = {path: list(fitting(path)) for path in first.values()}
    assert _missed(received, known.pinned, [(path, some[number % len(some)]) for number, (path, some) in enumerate(edits.items())]) == []


def test_it_waits_for_no_pipe(received: Path, known: Known) -> None:
    cases = [(received / name, "a pipe") for name in ("trust/1.root.json", "checkpoint", "export.dsse.json")]
    assert _missed(received, known.pinned, cases) == []


@pytest.mark.slow
def test_it_finds_every_eleventh_change_to_every_file(received: Path, known: Known) -> None:
    cases = _every_case(received)[::11]
    assert _missed(received, known.pinned, cases) == []


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_it_finds_every_change_to_every_file(received: Path, known: Known) -> None:
    assert _missed(received, known.pinned, _every_case(received)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, steps) in FORGERIES.items() if steps & COVERED])
def test_it_finds_every_lie_about_what_it_checks(known: Known, tmp_path: Path, name: str) -> None:
    _refuses(known, tmp_path, name)


def _refuses(known: Known, tmp_path: Path, name: str) -> None:
    folder = copied(known.export, tmp_path / "forged")
    ended = _script(signed_again(folder, known.settings, **FORGERIES[name][0](folder, known)), known.pinned)
    assert ended.returncode == 1, ended.stdout
    assert "FAILED" in ended.stdout
