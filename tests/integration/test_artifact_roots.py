"""An artifact that exists is read below the roots that are allowed, from nowhere else, and not by everybody at once."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aiinfra_core import artifact_store, database, promoting, registering, verifying
from aiinfra_core.artifact_store import recorded
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.errors import ArtifactMissing, BadInput, DigestMismatch, Misconfigured, Unavailable
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_artifacts, request_ids
from tests.simulators.s3_servers import aws_credentials, moto_endpoint, s3_client

__all__ = ["aws_credentials", "moto_endpoint"]
WEIGHTS = "7f5a4c3d8e1b2a90"


@pytest.fixture
def roots(settings: Settings, tmp_path: Path) -> Settings:
    """Give settings that may read from two more places, `other` and a prefix of a bucket."""
    return settings.model_copy(update={"artifact_roots": ((tmp_path / "other").as_uri(), "s3://models/released")})


def _stored(settings: Settings, root: str, tmp_path: Path, key: str = "team/model.bin") -> tuple[str, str]:
    source = tmp_path / "source.bin"
    source.write_text(WEIGHTS)
    kept = artifact_store.put(artifact_store.location_at(settings, root, "test"), source, key)
    return kept.uri, kept.checksum


def _asked(uri: str, checksum: str) -> RegistrationRequest:
    return RegistrationRequest(model="rainfall", artifact_uri=uri, checksum=checksum, registered_by="rita")


def _nothing_is_recorded(settings: Settings) -> bool:
    with database.transaction(settings) as tx:
        return all(not tx.execute(select(func.count()).select_from(table)).scalar_one() for table in (model_artifacts, request_ids))


def test_an_artifact_below_any_allowed_root_is_registered_and_promoted(roots: Settings, tmp_path: Path) -> None:
    for version, root in enumerate(((tmp_path / "other").as_uri(), roots.artifact_root or ""), start=1):
        uri, checksum = _stored(roots, root, tmp_path)
        asked = _asked(uri, checksum).model_copy(update={"request_id": root})
        assert (registering.register(roots, asked).version, artifact_store.location_of(roots, uri).root) == (version, root)
    request = PromotionRequest(artifact="rainfall:1", environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    assert promoting.promote(roots, request).status is PromotionStatus.APPLIED


def test_an_artifact_in_an_allowed_bucket_is_registered(roots: Settings, tmp_path: Path, moto_endpoint: str, aws_credentials: None) -> None:
    there = roots.model_copy(update={"s3_endpoint_url": moto_endpoint})
    s3_client(moto_endpoint).create_bucket(Bucket="models")
    uri, checksum = _stored(there, "s3://models/released", tmp_path)
    assert registering.register(there, _asked(uri, checksum)).artifact_uri == uri
    with pytest.raises(ArtifactMissing, match="team/other"):
        registering.register(there, _asked("s3://models/released/team/other", checksum).model_copy(update={"request_id": "other"}))


def test_what_is_not_there_and_what_is_something_else_are_told_apart_and_nothing_is_recorded(roots: Settings, tmp_path: Path) -> None:
    uri, checksum = _stored(roots, (tmp_path / "other").as_uri(), tmp_path)
    with pytest.raises(ArtifactMissing, match="Nothing is stored"):
        registering.register(roots, _asked(uri + "2", checksum))
    with pytest.raises(DigestMismatch, match=checksum):
        registering.register(roots, _asked(uri, "0" * 64))
    assert _nothing_is_recorded(roots)


@pytest.mark.parametrize(
    "trick",
    [
        "ROOT",
        "ROOT/",
        "ROOT2/team/model.bin",
        "ROOT/../other2/team/model.bin",
        "ROOT/%2e%2e/other2/team/model.bin",
        "ROOT/team/../../other2/team/model.bin",
        "ROOT/..%2fother2/team/model.bin",
        "ROOT/./team/model.bin",
        "ROOT//team/model.bin",
        "ROOT/team/model.bin?versionId=1",
        "ROOT/team/model.bin#",
        "ROOT/team\\model.bin",
        "ROOT/linked/team/model.bin",
        "ROOT/team/link.bin",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "/etc/passwd",
        "s3://models/released",
        "s3://models/released2/model.bin",
        "s3://models/model.bin",
        "s3://models2/released/model.bin",
        "s3://models/released/../secret",
        "s3://models@evil/released/model.bin",
        "http://169.254.169.254/latest/meta-data",
        "https://models/released/model.bin",
        "gopher://models/released/model.bin",
        "",
    ],
)
def test_no_spelling_leads_out_of_the_allowed_roots(roots: Settings, tmp_path: Path, trick: str) -> None:
    uri, checksum = _stored(roots, (tmp_path / "other").as_uri(), tmp_path)
    _stored(roots, (tmp_path / "other2").as_uri(), tmp_path)
    (tmp_path / "other" / "linked").symlink_to(tmp_path / "other2")
    (tmp_path / "other" / "team" / "link.bin").symlink_to(tmp_path / "other2" / "team" / "model.bin")
    assert uri.endswith("other/team/model.bin")
    with pytest.raises(BadInput) as refused:
        registering.register(roots, _asked(trick.replace("ROOT", (tmp_path / "other").as_uri()), checksum))
    assert not isinstance(refused.value, ArtifactMissing)
    assert _nothing_is_recorded(roots)


def test_a_refusal_names_the_roots_that_are_allowed(roots: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        artifact_store.location_of(roots, "file:///etc/passwd")
    assert all(root in str(refused.value) for root in (roots.artifact_root or "", *roots.artifact_roots))


def test_what_was_registered_below_an_earlier_root_is_read_as_long_as_that_is_listed(settings: Settings, tmp_path: Path) -> None:
    uri, checksum = _stored(settings, settings.artifact_root or "", tmp_path)
    registering.register(settings, _asked(uri, checksum))
    moved = settings.model_copy(update={"artifact_root": (tmp_path / "new").as_uri()})
    _, steps = verifying.verify_model(moved, "rainfall:1")
    assert [step.name for step in steps if not step.passed] == ["bytes"]
    request = PromotionRequest(artifact="rainfall:1", environment="staging", evaluation={"quality": 0.9}, requested_by="paul")
    refused = promoting.promote(moved, request)
    assert (refused.status, "artifact root" in (refused.reason or "")) == (PromotionStatus.REJECTED, True)
    listed = moved.model_copy(update={"artifact_roots": (settings.artifact_root,)})
    _, steps = verifying.verify_model(listed, "rainfall:1")
    assert [step.name for step in steps if not step.passed] == []
    assert promoting.promote(listed, request.model_copy(update={"environment": "prod"})).status is PromotionStatus.APPLIED


def test_roots_come_from_the_environment_and_each_must_be_one(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("AI_INFRA_ARTIFACT_ROOTS", " file:///a , s3://models/released ,")
    assert Settings().artifact_roots == ("file:///a", "s3://models/released")
    for wrong in ("http://models/released", "file://host/a", "/a", "s3://", "file:///a?b"):
        with pytest.raises(Misconfigured, match="AI_INFRA_ARTIFACT_ROOTS"):
            artifact_store.location_of(settings.model_copy(update={"artifact_roots": (wrong,)}), "file:///elsewhere/x")


def test_so_many_are_read_at_a_time_and_who_waits_too_long_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "LONGEST_WAIT_SECONDS", 0.3)
    uri, checksum = _stored(settings, settings.artifact_root or "", tmp_path)
    two = settings.model_copy(update={"verify_concurrency": 2})
    entered, leave = threading.Barrier(3), threading.Event()

    def read_for_long() -> None:
        with recorded._turn(two.verify_concurrency):
            entered.wait()
            leave.wait(20)

    readers = [threading.Thread(target=read_for_long) for _ in range(2)]
    for reader in readers:
        reader.start()
    entered.wait()
    with pytest.raises(Unavailable, match="AI_INFRA_VERIFY_CONCURRENCY") as refused:
        recorded.verify(two, uri, checksum)
    assert refused.value.part == "artifact_store"
    leave.set()
    for reader in readers:
        reader.join()
    assert recorded.verify(two, uri, checksum).checksum == checksum


def test_a_read_that_fails_gives_its_turn_back(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "LONGEST_WAIT_SECONDS", 0.3)
    uri, checksum = _stored(settings, settings.artifact_root or "", tmp_path)
    one = settings.model_copy(update={"verify_concurrency": 1})
    for _ in range(3):
        with pytest.raises(DigestMismatch):
            recorded.verify(one, uri, "0" * 64)
    assert recorded.verify(one, uri, checksum).checksum == checksum
