"""Reproductions from the command line, with their exit codes, and read over HTTP."""

from pathlib import Path

import pytest

from aiinfra_core import database, reproducing
from aiinfra_core.client import Client
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import reproductions
from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.simulators.http_story import open_to_debug
from tests.simulators.service import AS_DEBUG, serving
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]
installation, run = command_line.installation, command_line.run

SCORED = "put(text=str(time.time())); metrics.write_text(json.dumps({'quality': 0.9}))"


def test_the_same_bytes_are_exit_code_0(installation: Settings, trained: Trained, run: Run, tmp_path: Path) -> None:
    artifact = trained("put()")
    ran = run(f"reproduce rows:1 --reproduced-by rosa --directory {tmp_path / 'mine'}")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "rows:1 reproduced, identical: every byte is the same"
    assert artifact.checksum in ran.out
    assert len(list((tmp_path / "mine").iterdir())) == 1
    assert ran.out.splitlines()[-1] == "Next: aiinfra verify rows:1"


def test_other_bytes_are_exit_code_3_with_cause_and_line_and_within_a_tolerance_0(
    installation: Settings, trained: Trained, run: Run
) -> None:
    trained(SCORED)
    ran = run("reproduce rows")
    assert (ran.code, ran.out.splitlines()[0]) == (3, "rows:1 reproduced, different: other bytes came out")
    assert "Cause, time: " in ran.out
    assert "  train.py:" in ran.out and "time.time()" in ran.out
    close = run("reproduce rows --tolerance quality=0.1 --json")
    assert (close.code, close.json["outcome"]) == (0, "within_tolerance")


def test_a_training_that_fails_is_exit_code_7_and_what_cannot_be_asked_2(installation: Settings, trained: Trained, run: Run) -> None:
    trained("once = Path(OUTSIDE, 'ran'); put()\nif once.exists(): sys.exit('the data is gone')\nonce.touch()")
    ran = run("reproduce rows --reproduced-by tara")
    assert (ran.code, "the data is gone" in ran.out, "tara, who trained it too" in ran.out) == (7, True, True)
    for line in ("reproduce rows --tolerance quality=0.1", "reproduce rows --tolerance quality=much", "reproduce rows:9"):
        assert run(line).code == 2


@pytest.mark.parametrize("place", ["/proc/nope", "{tmp_path}/file"])
def test_a_directory_nothing_can_be_run_in_is_exit_code_2(
    installation: Settings, trained: Trained, run: Run, tmp_path: Path, place: str
) -> None:
    trained("put()")
    (tmp_path / "file").touch()
    ran = run(f"reproduce rows --directory {place.format(tmp_path=tmp_path)}")
    assert (ran.code, ran.error.startswith("Nothing can be run in /")) == (2, True), ran.err
    assert "choose another --directory" in ran.error
    assert "such as --tolerance quality=0.01" in run("reproduce rows --tolerance quality").error


def test_reproductions_are_read_over_http_newest_first(settings: Settings, trained: Trained) -> None:
    artifact = trained(SCORED)
    for name in ("rosa", "remy"):
        request = ReproductionRequest(artifact="rows", reproduced_by=name)
        reproducing.reproduce(settings, request, on_output=print)
    with database.transaction(settings) as tx:
        kept = reproductions.of_artifact(tx, artifact.id)
        assert reproductions.newest(tx, artifact.id) == kept[0]
    with serving(open_to_debug(settings)) as address, Client(address, debug_token=AS_DEBUG["X-Debug-Token"]) as client:
        found = list(client.reproductions("rows:1", page_size=1))
        assert [(one.id, one.reproduced_by) for one in found] == [(kept[0].id, "remy"), (kept[1].id, "rosa")]
        assert found[0].report == kept[0].report
        assert found[0].report["causes"][0]["kind"] == "time"
        with pytest.raises(NotFound, match="Nothing is registered"):
            list(client.reproductions("rows:2"))
