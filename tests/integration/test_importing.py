"""What the replaced service has recorded is copied once, signed as imported, and registered only where its bytes are there and right."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from aiinfra_core import artifact_store, database, registering, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.imported import Imported, Kind
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, Unavailable
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.importing import copying, go_service
from aiinfra_core.keys import audit_signer, trust_of
from aiinfra_core.log_tables import audit_events
from aiinfra_core.outbound import Patience
from aiinfra_core.registry import artifacts, imports, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.tables import imports as imports_table
from aiinfra_core.tables import model_artifacts
from tests.simulators.go_service import GoService
from tests.simulators.go_service import go_service as running
from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, drips_body, scripted_server, unused_url


@pytest.fixture
def old() -> Iterator[GoService]:
    with running() as service:
        yield service


def stored(settings: Settings, name: str) -> tuple[str, bytes]:
    """Put bytes where the old service says they are, and this one may read."""
    source = settings.home / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    return artifact_store.put(artifact_store.location(settings), source, f"old/{name}").uri, name.encode()


def imported(settings: Settings, service: GoService | str, **options: Any) -> copying.Summary:
    url = service if isinstance(service, str) else service.url
    token = options.pop("token", None)
    return copying.copy(settings, go_service.service_at(url, token), **{"imported_by": "ida", **options})


def kept(settings: Settings, service: GoService, kind: Kind, record: dict[str, Any] | str) -> Imported:
    wanted = record if isinstance(record, str) else str(record["id"])
    with database.snapshot(settings) as tx:
        found = imports.known(tx, service.url, kind, wanted)
    assert found is not None
    return found


def versions(settings: Settings) -> list[str]:
    with database.snapshot(settings) as tx:
        rows = tx.execute(select(model_artifacts.c.model, model_artifacts.c.version).order_by(model_artifacts.c.created_at)).all()
    return [f"{row.model}:{row.version}" for row in rows]


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
    assert (_rows(settings), old.asked) == ([], [])


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
    before = _rows(settings)
    again = imported(settings, old)
    assert (again.counts, again.earlier) == ({}, sum(first.counts.values()))
    assert _rows(settings) == before
    newer = old.trained(*stored(settings, "d"))
    old.promoted(third, "prod")
    assert imported(settings, old).counts == {("job", "recorded"): 1, ("artifact", "registered"): 1, ("promotion", "history"): 1}
    assert kept(settings, old, Kind.ARTIFACT, newer).outcome == "registered as default:4"
    sequence_pending(settings, audit_signer(settings))
    with database.transaction(settings) as tx:
        told = tx.execute(select(func.count()).where(audit_events.c.event_type == "import.recorded")).scalar_one()
        assert told == tx.execute(select(func.count()).select_from(imports_table)).scalar_one() == 11


def _rows(settings: Settings) -> list[Any]:
    with database.snapshot(settings) as tx:
        return [*tx.execute(select(imports_table).order_by(imports_table.c.id)), *tx.execute(select(model_artifacts))]


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
    assert _rows(settings) == []
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


@pytest.mark.parametrize("url", ["ftp://old", "old.example", "http://me:secret@old.example", f"http://old.example/{'x' * 500}"])
def test_an_address_that_is_none_or_holds_credentials_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        go_service.service_at(url, None)
    assert "secret" not in str(refused.value)


def endless(handler: Handler, received: Received) -> None:
    offset = int(received.path.rpartition("=")[2])
    handler.send(200, json.dumps([{"id": f"a{offset + number}"} for number in range(100)]).encode())


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (answers(200, b"[" + b" " * go_service.MAX_BYTES + b"]"), "more than 16,777,216 bytes"),
        (answers(200, b"{"), "not readable as JSON"),
        (answers(200, b'[{"id":"a","id":"b"}]'), "names a key twice"),
        (answers(200, {"error": "no"}), "is no list"),
        (answers(200, [1]), "something else than a record"),
        (answers(200, [{"name": "x"}]), "has no id"),
        (answers(200, [{"id": "a\u0000b"}]), "has no id"),
        (answers(302, b"", Location="http://127.0.0.1:1/"), "HTTP 302"),
        (answers(404, {"error": "not found"}), "HTTP 404"),
        (endless, "more than 1,000 artifacts"),
    ],
    ids=["huge", "no JSON", "twice", "no list", "no record", "no id", "odd id", "redirect", "another service", "endless"],
)
def test_a_service_that_answers_oddly_is_left_alone_with_a_sentence(
    settings: Settings, behaviour: Behaviour, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_service, "MOST_ARTIFACTS", 1_000)
    with scripted_server(behaviour) as server, pytest.raises(BadInput, match=said):
        imported(settings, server.url)
    assert _rows(settings) == []


def test_a_service_that_takes_no_notice_of_the_offset_is_still_read_once(settings: Settings, old: GoService) -> None:
    artifact = old.trained(*stored(settings, "a"))

    def deaf(handler: Handler, received: Received) -> None:
        if "?" in received.path:
            handler.send(200, json.dumps([artifact]).encode())
        else:
            old.answer(handler, received)

    with scripted_server(deaf) as server:
        assert imported(settings, server.url).counts["artifact", "registered"] == 1


def test_a_detail_about_another_artifact_is_refused(settings: Settings, old: GoService) -> None:
    artifact = old.trained(*stored(settings, "a"))

    def lying(handler: Handler, received: Received) -> None:
        listed, detail = [artifact], {"artifact": {**artifact, "id": "other"}}
        handler.send(200, json.dumps(listed if "?" in received.path else detail).encode())

    with scripted_server(lying) as server, pytest.raises(BadInput, match="with another artifact"):
        imported(settings, server.url)


@pytest.mark.parametrize("behaviour", [drips_body, None], ids=["drips", "nobody"])
def test_a_service_that_cannot_be_reached_is_unavailable(
    settings: Settings, behaviour: Behaviour | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_service, "_PATIENCE", Patience(timeout_seconds=0.3, attempts=2, backoff_seconds=0.01))
    if behaviour is None:
        with pytest.raises(Unavailable, match="the Go service"):
            imported(settings, unused_url())
        return
    with scripted_server(behaviour) as server, pytest.raises(Unavailable, match="the Go service"):
        imported(settings, server.url)
