"""A caller whose view of a promotion is out of date changes nothing about it."""

from pathlib import Path

from sqlalchemy import func, select

from aiinfra_core import artifact_store, database, promoting, registering
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.registry import dossier, promotion_moves
from aiinfra_core.settings import Settings
from aiinfra_core.tables import request_ids


def test_a_late_refusal_neither_changes_a_promotion_nor_frees_its_request(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")
    registering.register(
        settings, RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    )
    request = PromotionRequest(artifact="rainfall", environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    promotion_id = promoting.request_promotion(settings, request)
    with database.transaction(settings) as tx:
        seen = dossier.of_promotion(tx, promotion_id).row
    assert promoting.promote(settings, request).id == promotion_id
    with database.transaction(settings) as tx:
        late = promotion_moves.reject(tx, seen, "down", unavailable="signer", at=seen["updated_at"])
        kept = select(func.count()).select_from(request_ids).where(request_ids.c.subject_id == promotion_id)
        assert tx.execute(kept).scalar_one() == 1
    assert late["status"] == PromotionStatus.APPLIED
