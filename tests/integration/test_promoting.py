"""Promotions against a real database, a real store and real signatures."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from aiinfra_core import artifact_store, database, promoting, registering, verifying
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import Conflict, DigestMismatch, NotFound, Unavailable
from aiinfra_core.keys import configured_signer
from aiinfra_core.log_tables import audit_events, audit_outbox
from aiinfra_core.registry import artifacts, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_artifacts, model_promotions

Register = Callable[..., Artifact]


@pytest.fixture
def register(settings: Settings, tmp_path: Path) -> Register:
    """Give a function that stores some bytes and registers them without a training job."""

    def registered(content: str = "weights", model: str = "rainfall", **changes: object) -> Artifact:
        source = tmp_path / "model.bin"
        source.write_text(content)
        stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{model}-{abs(hash(content))}")
        request = RegistrationRequest(model=model, artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
        return registering.register(settings, request.model_copy(update=changes))

    return registered


def _promote(
    settings: Settings, artifact: Artifact | str, environment: str = "prod", quality: object = 0.9, request_id: str | None = None
) -> Promotion:
    request = PromotionRequest(
        artifact=artifact if isinstance(artifact, str) else str(artifact.id),
        environment=environment,
        evaluation=None if quality is None else {"quality": quality},
        requested_by="paul",
        request_id=request_id,
    )
    return promoting.promote(settings, request)


def _events(settings: Settings) -> list[str]:
    with database.transaction(settings) as tx:
        assert tx.execute(select(func.count()).select_from(audit_outbox)).scalar_one() == 0, "events wait"
        return list(tx.execute(select(audit_events.c.event_type).order_by(audit_events.c.seq)).scalars())


def _sound(settings: Settings) -> bool:
    return not verifying.verify_history(settings).findings


def test_a_good_model_is_promoted_signed_and_every_step_of_it_is_in_the_history(settings: Settings, register: Register) -> None:
    artifact = register()
    promotion = _promote(settings, artifact)
    assert (promotion.status, promotion.sequence_seen, promotion.reason) == (PromotionStatus.APPLIED, 0, None)
    assert promotion.decision is not None
    assert (promotion.decision.allowed, promotion.decision.policy_id) == (True, "sentinel-allow")
    with database.transaction(settings) as tx:
        pointer = promotions.pointer(tx, "prod", "rainfall")
        assert artifacts.find(tx, "rainfall@prod") == artifact
    assert pointer is not None
    assert (pointer.artifact_id, pointer.promotion_id, pointer.sequence) == (artifact.id, promotion.id, 1)
    assert _events(settings) == [
        "artifact.registered",
        "artifact.scanned",
        "promotion.requested",
        "policy.adopted",
        "policy.decision",
        "evaluation.recorded",
        "promotion.approved",
        "promotion.applied",
    ]
    _, steps = verifying.verify_model(settings, "rainfall:1")
    assert [step.name for step in steps if not step.passed] == []
    assert len(steps) == 7


@pytest.mark.parametrize(
    ("quality", "said"),
    [(0.79, "0.8"), (float("nan"), "NaN"), ("0.99", "quality"), (None, "quality"), (True, "quality"), (float("inf"), "")],
)
def test_a_score_that_is_low_missing_or_no_number_is_a_recorded_no(
    settings: Settings, register: Register, quality: object, said: str
) -> None:
    promotion = _promote(settings, register(), quality=quality)
    assert promotion.status is PromotionStatus.REJECTED
    assert promotion.decision is not None
    assert not promotion.decision.allowed
    assert said in (promotion.reason or "")
    assert (promotion.manifest, promotion.signature) == (None, None)
    with database.transaction(settings) as tx:
        assert promotions.pointer(tx, "prod", "rainfall") is None
    assert _events(settings)[-4:] == ["promotion.requested", "policy.adopted", "policy.decision", "promotion.rejected"]
    assert _sound(settings)


def test_the_same_promotion_asked_twice_is_done_once(settings: Settings, register: Register) -> None:
    artifact = register()
    first, second = _promote(settings, artifact), _promote(settings, artifact)
    assert first == second
    refused, again = (_promote(settings, artifact, "staging", quality=0.1) for _ in range(2))
    assert refused == again
    assert _events(settings).count("promotion.requested") == 2


def test_a_request_id_names_one_promotion_only(settings: Settings, register: Register) -> None:
    artifact = register()
    first = _promote(settings, artifact, request_id="release-7")
    assert _promote(settings, artifact, request_id="release-7") == first
    with pytest.raises(Conflict, match="release-7"):
        _promote(settings, artifact, "staging", request_id="release-7")


def test_the_same_registration_asked_twice_is_one_version(settings: Settings, register: Register) -> None:
    assert register() == register()
    assert register("other weights").version == 2
    assert register(model="other").version == 1
    assert _events(settings) == ["artifact.registered", "artifact.scanned"] * 3


def test_other_bytes_than_were_named_are_not_registered(settings: Settings, register: Register) -> None:
    with pytest.raises(DigestMismatch, match="0" * 64):
        register(checksum="0" * 64)
    with pytest.raises(NotFound):
        register(artifact_uri=f"{settings.artifact_root}/uploads/nothing")
    assert _events(settings) == []


@pytest.mark.parametrize("change", ["tampered", "missing"])
def test_an_artifact_that_changed_after_its_registration_is_a_recorded_no(settings: Settings, register: Register, change: str) -> None:
    artifact = register()
    path = Path(artifact.artifact_uri.removeprefix("file://"))
    path.chmod(0o644)
    path.write_text("poison!") if change == "tampered" else path.unlink()
    promotion = _promote(settings, artifact)
    assert (promotion.status, promotion.decision) == (PromotionStatus.REJECTED, None)
    assert (promotion.reason or "").startswith("artifact: ")
    assert _sound(settings)


def test_an_unknown_artifact_or_environment_is_named_and_nothing_is_recorded(settings: Settings, register: Register) -> None:
    artifact = register()
    before = _events(settings)
    for unknown in ("rainfall:9", "nobody", "rainfall@prod", "rainfall:x", str(UUID(int=0))):
        with pytest.raises(NotFound, match=unknown):
            _promote(settings, unknown)
    with pytest.raises(NotFound, match="staging, prod"):
        _promote(settings, artifact, environment="moon")
    assert _events(settings) == before
    assert _promote(settings, artifact, "production").environment == "prod"


def test_a_gate_that_cannot_be_reached_is_a_recorded_no_that_may_be_asked_again(settings: Settings, register: Register) -> None:
    artifact = register()
    down = settings.model_copy(update={"sentinel_url": "http://127.0.0.1:9", "sentinel_timeout_seconds": 0.2})
    refused = _promote(down, artifact)
    assert (refused.status, (refused.reason or "").split()[0]) == (PromotionStatus.REJECTED, "unavailable:sentinelnet")
    applied = _promote(settings, artifact)
    assert (applied.status, applied.request_id) == (PromotionStatus.APPLIED, refused.request_id)
    assert applied.id != refused.id
    assert _sound(settings)


def test_a_signer_that_cannot_be_reached_is_a_recorded_no_and_its_events_wait_for_it(settings: Settings, register: Register) -> None:
    artifact = register()
    pinned = configured_signer(settings, Purpose.PROMOTION).public_key.base64
    changes = {"signer_key_b64": None, "kms_endpoint": "http://127.0.0.1:9", "kms_timeout_seconds": 0.2, "kms_public_key_b64": pinned}
    refused = _promote(settings.model_copy(update=changes), artifact)
    assert (refused.status, (refused.reason or "").split()[0]) == (PromotionStatus.REJECTED, "unavailable:signer")
    history = verifying.verify_history(settings)
    assert (history.events, history.waiting, history.findings) == (2, 4, [])
    assert _promote(settings, artifact).status is PromotionStatus.APPLIED
    assert "promotion.rejected" in _events(settings)


def test_a_database_that_is_lost_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    gone = Settings(AI_INFRA_DATABASE_URL=f"postgresql:///nothing?host={tmp_path}", signer_key_b64=settings.signer_key_b64)
    with pytest.raises(Unavailable, match="database") as caught:
        promoting.promote(gone, PromotionRequest(artifact="rainfall", environment="prod", requested_by="paul"))
    assert caught.value.part == "database"


def test_versions_have_no_gaps_when_many_register_at_once(settings: Settings, tmp_path: Path) -> None:
    made = [_stored_request(settings, tmp_path / f"{number}.bin") for number in range(12)]
    _all_at_once([partial(registering.register, settings, request) for request in made])
    with database.transaction(settings) as tx:
        versions = tx.execute(select(model_artifacts.c.version).order_by(model_artifacts.c.version)).scalars().all()
    assert list(versions) == list(range(1, 13))
    assert _events(settings) == ["artifact.registered", "artifact.scanned"] * 12
    assert _sound(settings)


def _stored_request(settings: Settings, source: Path) -> RegistrationRequest:
    source.write_text(source.name)
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{source.name}")
    return RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")


@pytest.mark.parametrize("before", [0, 1], ids=["a first pointer", "a pointer that moves on"])
def test_of_many_promotions_to_one_pointer_one_wins_and_the_others_are_superseded(
    settings: Settings, register: Register, before: int
) -> None:
    for number in range(before):
        _promote(settings, register(f"earlier weights {number}"))
    candidates = [register(f"weights {number}") for number in range(8)]
    asked = [
        promoting.request_promotion(
            settings,
            PromotionRequest(artifact=str(candidate.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul"),
        )
        for candidate in candidates
    ]
    _all_at_once([partial(_finish, settings, promotion_id) for promotion_id in asked])
    with database.transaction(settings) as tx:
        ended = [promotions.get(tx, promotion_id) for promotion_id in asked]
        pointer = promotions.pointer(tx, "prod", "rainfall")
    winners = [promotion for promotion in ended if promotion.status is PromotionStatus.APPLIED]
    assert [promotion.status for promotion in ended].count(PromotionStatus.SUPERSEDED) == 7
    assert pointer is not None
    assert ([pointer.promotion_id], pointer.sequence) == ([winner.id for winner in winners], before + 1)
    assert _sound(settings)
    loser = next(promotion for promotion in ended if promotion.status is PromotionStatus.SUPERSEDED)
    assert _finish(settings, loser.id) == loser
    again = _promote(settings, next(c for c in candidates if c.id == loser.artifact_id))
    assert (again.status, again.sequence_seen, again.follows) == (PromotionStatus.APPLIED, before + 1, winners[0].manifest)


def _finish(settings: Settings, promotion_id: UUID) -> Promotion:
    promoting.verify_artifact(settings, promotion_id)
    promoting.decide(settings, promotion_id)
    promoting.sign_manifest(settings, promotion_id)
    return promoting.apply_promotion(settings, promotion_id)


def _all_at_once(calls: list[Callable[[], object]]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        start.wait()
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("step", ["verify", "decide", "sign", "apply"])
def test_a_step_without_the_ones_before_it_changes_nothing(settings: Settings, register: Register, step: str) -> None:
    request = PromotionRequest(artifact=str(register().id), environment="prod", evaluation={"quality": 0.1}, requested_by="paul")
    promotion_id = promoting.request_promotion(settings, request)
    if step == "apply":
        assert promoting.apply_promotion(settings, promotion_id).status is PromotionStatus.REQUESTED
    if step == "sign":
        assert promoting.sign_manifest(settings, promotion_id).status is PromotionStatus.REQUESTED
    with database.transaction(settings) as tx:
        assert tx.execute(select(model_promotions.c.manifest)).scalar_one() is None
        assert promotions.pointer(tx, "prod", "rainfall") is None
    assert _finish(settings, promotion_id).status is PromotionStatus.REJECTED


def test_a_store_that_refuses_is_a_recorded_no_and_registers_nothing(settings: Settings, register: Register) -> None:
    artifact = register()
    root = Path((settings.artifact_root or "").removeprefix("file://"))
    refusing = settings.model_copy(update={"artifact_root": "s3://ai-infra-dev", "s3_endpoint_url": "http://127.0.0.1:9"})
    unregistered = RegistrationRequest(
        model="rainfall", artifact_uri="s3://ai-infra-dev/artifacts/x.model", checksum="0" * 64, registered_by="rita"
    )
    before = _events(settings)
    with pytest.raises(Unavailable) as caught:
        registering.register(refusing, unregistered)
    assert caught.value.part == "artifact_store"
    assert _events(settings) == before
    root.rename(root.with_name("gone"))
    root.write_text("a file where the store was")
    refused = _promote(settings, artifact)
    assert (refused.status, refused.manifest) == (PromotionStatus.REJECTED, None)
    root.unlink()
    root.with_name("gone").rename(root)
    assert _sound(settings)
