"""`import` and `prune` as they are typed, and what the other commands say about what they did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import artifact_store
from aiinfra_core.settings import Settings
from tests.simulators.command_line import Run, installation, registered, repository, run
from tests.simulators.exports import with_trust
from tests.simulators.go_service import GoService, go_service

__all__ = ["installation", "registered", "repository", "run"]


@pytest.fixture
def old(installation: Settings, tmp_path: Path) -> Iterator[GoService]:
    """Run a service with one artifact that can be read here and one that cannot."""
    (tmp_path / "old.bin").write_bytes(b"old")
    stored = artifact_store.put(artifact_store.location(installation), tmp_path / "old.bin", "old/model")
    with go_service() as service:
        service.promoted(service.trained(stored.uri, b"old", model="rain"), "prod")
        service.trained("s3://elsewhere/x", b"x", model="rain")
        yield service


def test_an_import_is_tried_then_made_and_can_be_strict(run: Run, old: GoService) -> None:
    line = f"import --from-go-service {old.url}"
    tried = run(f"{line} --dry-run")
    assert tried.code == 0
    assert "Nothing was kept." in tried.out
    assert run("models list --json").json == []
    assert run(f"{line} --strict").code == 3
    done = run(f"{line} --json").json
    assert (done["fromBefore"], done["counts"], done["notRegistered"]) == (5, {}, 0)
    shown = run("models show rain")
    assert f"elsewhere: no provenance, imported from {old.url}" in shown.out
    assert "no provenance" in run("models list").out
    assert run("status --json").json["current"] in ([], {})


def test_what_an_import_could_not_register_is_listed(run: Run, old: GoService) -> None:
    said = run(f"import --from-go-service {old.url} --json").json
    assert said["counts"] == {"artifact": {"registered": 1, "unreadable": 1}, "job": {"recorded": 2}, "promotion": {"history": 1}}
    assert [one["originalId"] for one in said["problems"]] == [old.artifacts[1]["id"]]
    assert (said["source"], said["dryRun"], said["notRegistered"], said["moreProblems"]) == (old.url, False, 1, 0)


def test_an_import_reads_its_token_from_the_environment_and_never_shows_it(
    run: Run, old: GoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.token = "".join(("to", "ken-of-the-old"))
    refused = run(f"import --from-go-service {old.url}")
    assert (refused.code, "--token" in refused.error) == (2, True)
    monkeypatch.setenv("AI_INFRA_IMPORT_TOKEN", old.token)
    done = run(f"import --from-go-service {old.url}")
    assert done.code == 0
    assert old.token not in done.out + done.err + run("import --help").out
    assert run("import --from-go-service http://user:secret@old.example").code == 2


def test_pruning_is_shown_first_and_done_with_yes(run: Run, registered: dict[str, Any], installation: Settings) -> None:
    path = Path(registered["artifactUri"].removeprefix("file://"))
    line = "prune --older-than 0 --keep-last 0"
    assert run("prune --older-than 0 --keep-last 1").out.startswith("Nothing can be removed")
    assert run("prune --older-than 1 --keep-last 0 --yes --json").json["pruned"] == []
    (free,) = run(f"{line} --json").json["free"]
    assert (free["uri"], free["artifacts"][0]["id"], free["removedFiles"]) == (registered["artifactUri"], registered["id"], None)
    assert "nothing was." in run(line).out
    assert path.exists()
    done = run(f"{line} --yes --reason 'nobody uses it' --json").json
    assert (done["pruned"][0]["removedFiles"], done["freedBytes"]) == (1, registered["sizeBytes"])
    assert not path.exists()
    assert run(f"{line} --yes --json").json == {"dryRun": False, "finishedFiles": 0, "freedBytes": 0, "pruned": []}


def test_what_was_pruned_is_told_of_everywhere(run: Run, registered: dict[str, Any], installation: Settings) -> None:
    assert run("prune --older-than 0 --keep-last 0 --yes --reason 'nobody uses it' --requested-by olga").code == 0
    assert "nobody uses it, by olga" in run("models show rain").out
    verified = run("verify rain")
    assert (verified.code, "bytes removed" in verified.out) == (0, True)
    assert run("audit verify").code == 0
    refused = run("promote rain --to staging --metric quality=0.9")
    assert refused.code == 3
    assert "was pruned" in refused.out + refused.err
    assert run("bom rain").code == 0


def test_an_export_of_what_was_pruned_is_refused_with_its_tombstone(
    run: Run, registered: dict[str, Any], installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(with_trust(installation).trust_root))
    run("prune --older-than 0 --keep-last 0 --yes")
    refused = run(f"export rain:1 --out {tmp_path / 'out'}")
    assert refused.code == 2
    assert "rain:1 was pruned: bytes removed" in refused.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "prune",
        "prune --older-than 1",
        "prune --older-than -1 --keep-last 0",
        "prune --older-than 99999 --keep-last 0",
        "prune --older-than 1 --keep-last 0 --rollback-targets 0",
        "prune --older-than 1 --keep-last 0 --yes --dry-run",
        "import",
        "import --from-go-service ftp://old",
        "import --from-go-service http://127.0.0.1:9/ --token 'a b'",
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, installation: Settings, line: str) -> None:
    assert run(line).code == 2
