"""An installation where people have to agree: a trust root with the service's key, keys of approvers, and how many of them it takes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from aiinfra_core import approving, artifact_store, database, keys, promoting, registering
from aiinfra_core.approving.statements import Vouched
from aiinfra_core.domain.approval import Approval, Withdrawal
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.evidence import dsse
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.keys import SIGNED_HERE
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import approvals, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.trusting import changing
from tests.simulators.trust_files import signer, trusted

ROOT = signer("root")
TWO = {"prod": {"ml-lead": 1, "security": 1}}
PEOPLE = {"alice": ("security",), "bob": ("ml-lead",), "carol": ("security", "ml-lead"), "paul": ("security", "ml-lead")}
ISSUER = "https://id.example"


def settings_with_approvers(settings: Settings, folder: Path, thresholds: Mapping[str, Mapping[str, int]] = TWO) -> Settings:
    """Return settings with a trust root that lists the signer of `settings` for everything, and each of `PEOPLE` as an approver."""
    plan = RootPlan((ROOT.public_key,), 1, ROOT.public_key)
    service = keys.signers_as_keys(settings, "service", (*SIGNED_HERE, Purpose.VOUCHING))
    trust = Trust(keys=(*service, *map(key_of, PEOPLE)), thresholds=thresholds, logs=(settings.log_origin,))
    changing.begin(folder, plan, trust, signers=[ROOT], targets_signer=ROOT)
    return settings.model_copy(update={"trust_root": folder / "1.root.json"})


def key_of(name: str, **more: Any) -> TrustedKey:
    """Return the entry of a person's key; a second one of theirs is `NAME-2`."""
    owner = name.partition("-")[0]
    return trusted(name, Purpose.APPROVAL, **{"owner": owner, "roles": PEOPLE[owner]} | more)


def change_trust(settings: Settings, **fields: Any) -> None:
    """Sign a trust with other fields."""
    assert settings.trust_root is not None
    changing.change(settings.trust_root.parent, lambda trust: trust.model_copy(update=fields), ROOT)


def registered(settings: Settings, content: str = "weights", by: str = "rita", model: str = "rainfall") -> Artifact:
    settings.home.mkdir(exist_ok=True)
    source = settings.home / "model.bin"
    source.write_text(content)
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{content}")
    request = RegistrationRequest(model=model, artifact_uri=stored.uri, checksum=stored.checksum, registered_by=by)
    return registering.register(settings, request)


def asked(settings: Settings, artifact: Artifact, environment: str = "prod", quality: float = 0.9, by: str = "paul") -> Promotion:
    request = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by=by)
    return promoting.promote(settings, request)


def signed(settings: Settings, promotion: Promotion, name: str, key: str | None = None, at: datetime | None = None) -> bytes:
    """Return what a person signs, with a key of theirs or of somebody else."""
    payload = approving.payload_to_sign(settings, promotion.id, name, at or datetime.now(UTC))
    return dsse.sign(payload, signer(key or name))


def agree(settings: Settings, promotion: Promotion, name: str, key: str | None = None) -> tuple[Approval, Promotion]:
    """Let a person agree with their key."""
    envelope = signed(settings, promotion, name, key)
    return approving.approve(settings, promotion.id, manifest=promotion.manifest or "", envelope=envelope)


def vouched(name: str, roles: Iterable[str]) -> Vouched:
    return Vouched(name, tuple(roles), ISSUER)


def agree_by_name(settings: Settings, promotion: Promotion, name: str, *roles: str) -> tuple[Approval, Promotion]:
    """Let the service vouch for a person."""
    return approving.approve(settings, promotion.id, manifest=promotion.manifest or "", identity=vouched(name, roles))


def take_back(settings: Settings, approval: Approval) -> Withdrawal:
    """Let whoever approved withdraw that with their key."""
    payload = approving.withdrawal_to_sign(settings, approval.id, datetime.now(UTC))
    return approving.withdraw(settings, approval.id, envelope=dsse.sign(payload, signer(approval.approver)))


def now(settings: Settings, promotion: Promotion | UUID) -> Promotion:
    with database.autocommit(settings) as connection:
        return promotions.get(connection, promotion if isinstance(promotion, UUID) else promotion.id)


def given(settings: Settings, promotion: Promotion) -> list[Approval]:
    with database.autocommit(settings) as connection:
        return [one.approval for one in approvals.of_promotion(connection, promotion.id)]


def events(settings: Settings) -> list[str]:
    with database.transaction(settings) as tx:
        return list(tx.execute(select(audit_events.c.event_type).order_by(audit_events.c.seq)).scalars())
