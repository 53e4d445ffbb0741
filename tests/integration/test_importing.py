"""What the replaced service has recorded is copied once, signed as imported, and registered only where its bytes are there and right."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from aiinfra_core import database, registering, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.imported import Kind
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, Unavailable
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.importing import copying, go_service
from aiinfra_core.keys import audit_signer, trust_of
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import artifacts, imports, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.tables import imports as imports_table
from tests.simulators import imported_records
from tests.simulators.go_service import GoService
from tests.simulators.imported_records import imported, kept, rows, stored, versions
from tests.simulators.scripted_server import answers, scripted_server

old = imported_records.old


def test_jobs_artifacts_and_promotions_are_kept_as_they_came_and_signed_as_imported(settings: Settings, old: GoService) -> None:
    artifact = old.trained(*stored(settings, "a"), manifestSignatureId="manifest-7")
    promotion = old.promoted(artifact, "prod")
    summary = imported(settings, old)
    assert summary.counts == {("job", "recorded"): 1, ("artifact", "registered"): 1, ("promotion", "history"): 1}
    for kind, record in ((Kind.ARTIFACT, artifact), (Kind.PROMOTION, promotion), (Kind.JOB, {"id": artifact["trainingJobId"]})):
        one = kept(settings, old, kind, record)
        assert json.loads(one.document) == record
        assert (one.source, one.imported_by) == (old.url, "ida")
        with database.snapshot(settings) as tx:
            statement = imports.kept(tx, one)
        expect(statement.envelope, keys_for(trust_of(settings), Purpose.ARTIFACT, at=one.created_at), statement.expected)
    with database.snapshot(settings) as tx:
        registered = artifacts.find(tx, "default:1")
        assert promotions.pointers(tx) == []
        assert promotions.of_artifact(tx, registered.id) == []
        assert imports.of_artifact(tx, registered.id) == kept(settings, old, Kind.ARTIFACT, artifact)
    assert (registered.training_job_id, registered.metadata, registered.manifest_signature_id) == (None, {"epochs": 1}, "manifest-7")
    assert kept(settings, old, Kind.ARTIFACT, artifact).outcome == "registered as default:1"
    assert verifying.verify_history(settings).findings == []


def test_what_an_import_said_is_checked_with_its_artifact(settings: Settings, old: GoService) -> None:
    old.trained(*stored(settings, "a"))
    imported(settings, old)
    _, steps = verifying.verify_model(settings, "default:1")
    assert f"import from {old.url}" in [step.name for step in steps if step.passed]
    assert [step.name for step in steps if not step.passed] == []
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("ALTER TABLE imports DISABLE TRIGGER USER"))
        tx.execute(text("UPDATE imports SET document = '{}' WHERE kind = 'artifact'"))
    _, steps = verifying.verify_model(settings, "default:1")
    assert [step.name for step in steps if not step.passed] == ["history", f"import from {old.url}"]


def test_whoever_has_no_name_that_can_be_recorded_imports_nothing(settings: Settings, old: GoService) -> None:
    old.trained(*stored(settings, "a"))
    for name in ("", "ida müller", "x" * 257):
        with pytest.raises(BadInput, match="cannot be recorded as who asks"):
            imported(settings, old, imported_by=name)
    assert (rows(settings), old.asked) == ([], [])


def test_versions_follow_the_time_of_the_old_service_over_many_pages(
    settings: Settings, old: GoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_service, "PAGE", 3)
    for name in "abcdefg":
        old.trained(*stored(settings, name), metadata={"model": "rain"})
    imported(settings, old)
    with database.snapshot(settings) as tx:
        assert [artifacts.find(tx, f"rain:{number}").artifact_uri[-1] for number in range(1, 8)] == list("abcdefg")
    assert [path for path in old.asked if "offset" in path] == [f"/ai-infra/models?limit=3&offset={start}" for start in (0, 3, 6, 7)]


def test_an_import_goes_on_where_it_stood_and_does_nothing_twice(settings: Settings, old: GoService) -> None:
    for name in "ab":
        old.promoted(old.trained(*stored(settings, name)), "staging")
    third = old.trained(*stored(settings, "c"))
    with scripted_server(answers(500, {})) as down, pytest.raises(Unavailable) as caught:
        imported(settings, down.url)
    assert caught.value.part == "go_service"
    first = imported(settings, old)
    before = rows(settings)
    again = imported(settings, old)
    assert (again.counts, again.earlier) == ({}, sum(first.counts.values()))
    assert rows(settings) == before
    newer = old.trained(*stored(settings, "d"))
    old.promoted(third, "prod")
    assert imported(settings, old).counts == {("job", "recorded"): 1, ("artifact", "registered"): 1, ("promotion", "history"): 1}
    assert kept(settings, old, Kind.ARTIFACT, newer).outcome == "registered as default:4"
    sequence_pending(settings, audit_signer(settings))
    with database.transaction(settings) as tx:
        told = tx.execute(select(func.count()).where(audit_events.c.event_type == "import.recorded")).scalar_one()
        assert told == tx.execute(select(func.count()).select_from(imports_table)).scalar_one() == 11


def test_an_artifact_registered_just_before_a_kill_is_not_registered_again(
    settings: Settings, old: GoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = old.trained(*stored(settings, "a"))
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_keep", _killed)
        with pytest.raises(KeyboardInterrupt):
            imported(settings, old)
    register = registering.register

    def then_killed(*arguments: Any) -> None:
        register(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registering, "register", then_killed)
        with pytest.raises(KeyboardInterrupt):
            imported(settings, old)
    assert versions(settings) == ["default:1"]
    with pytest.raises(Conflict, match="ask in the same words"):
        imported(settings, old, model="rain")
    imported(settings, old)
    assert versions(settings) == ["default:1"]
    assert kept(settings, old, Kind.ARTIFACT, artifact).outcome == "registered as default:1"


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_read_or_is_something_else_is_recorded_and_not_registered(
    settings: Settings, old: GoService, tmp_path: Path
) -> None:
    uri, data = stored(settings, "a")
    other = old.trained(uri, b"other bytes")
    elsewhere = old.trained("s3://ai-infra-dev/artifacts/7.model", data)
    private = old.trained((tmp_path / "private").as_uri(), data)
    gone = old.trained(f"{uri}-gone", data)
    no_checksum = old.trained(uri, data, checksum="md5:0123")
    nowhere = old.trained(uri, data, artifactUri=...)
    huge = old.trained(uri, data, metadata={"notes": "x" * 70_000})
    number = old.trained(uri, data, metadata={"big": 2**60 + 1})
    summary = imported(settings, old)
    outcomes = {
        record["id"]: kept(settings, old, Kind.ARTIFACT, record).outcome
        for record in (other, elsewhere, private, gone, no_checksum, nowhere, huge, number)
    }
    begins = [outcome.partition(":")[0] for outcome in outcomes.values()]
    assert begins == ["mismatch", "unreadable", "unreadable", "unreadable", "refused", "unreadable", "refused", "refused"]
    assert "not below an artifact root" in outcomes[elsewhere["id"]]
    assert (versions(settings), summary.not_registered, len(summary.problems)) == ([], 8, 8)
    assert json.loads(kept(settings, old, Kind.ARTIFACT, number).document)["metadata"] == {"big": 2**60 + 1}
    assert verifying.verify_history(settings).findings == []


def test_a_dry_run_says_what_would_become_of_everything_and_keeps_nothing(settings: Settings, old: GoService) -> None:
    uri, data = stored(settings, "a")
    old.promoted(old.trained(uri, data), "prod")
    old.trained(f"{uri}-gone", data)
    would = imported(settings, old, dry_run=True)
    assert rows(settings) == []
    assert would.counts == imported(settings, old).counts


def test_a_record_written_in_another_way_is_understood(settings: Settings, old: GoService) -> None:
    uri, data = stored(settings, "a")
    first = old.trained(uri, data, id=17, trainingJobId=None, metadata=None, createdAt="1709283600", signature=..., extra={"new": True})
    second = old.trained(uri, data, checksum="", createdAt="2024-03-02 09:00:00+00:00", promotions=...)
    second["checksum"] = f"SHA256:{first['checksum'].upper()}"
    old.promoted(first, "prod", id=..., sentinelDecision=None, createdAt=1709283600000)
    assert imported(settings, old).not_registered == 0
    assert json.loads(kept(settings, old, Kind.ARTIFACT, "17").document) == first
    assert versions(settings) == ["default:1", "default:2"]
    assert kept(settings, old, Kind.ARTIFACT, second).outcome == "registered as default:2"


def test_a_version_gets_its_model_from_what_is_asked_or_told(settings: Settings, old: GoService) -> None:
    one = old.trained(*stored(settings, "a"))
    old.told_of_job(one["trainingJobId"])
    two = old.trained(*stored(settings, "b"), model="Snow Depth")
    imported(settings, old)
    assert versions(settings) == ["forecast:1", "snow-depth:1"]
    assert json.loads(kept(settings, old, Kind.JOB, one["trainingJobId"]).document)["seed"] == "42"
    assert kept(settings, old, Kind.JOB, two["trainingJobId"]).outcome == "recorded: the service told no more than its id"
    old.trained(*stored(settings, "c"), model="snow")
    imported(settings, old, model="rain")
    assert versions(settings)[-1] == "rain:1"
    with pytest.raises(BadInput, match="no model's name"):
        imported(settings, old, model="Rain Fall")


def test_a_token_is_sent_along_and_shown_nowhere(settings: Settings, old: GoService) -> None:
    old.token = secret = secrets.token_hex()
    artifact = old.trained(*stored(settings, "a"))
    with pytest.raises(BadInput, match="--token"):
        imported(settings, old)
    imported(settings, old, token=secret)
    assert secret not in repr(go_service.service_at(old.url, secret))
    assert secret not in str(kept(settings, old, Kind.ARTIFACT, artifact))
