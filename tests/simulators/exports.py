"""A small installation with a trust root, models promoted in it, and exports of them; each made once for the tests that only read it."""

import json
import secrets
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Table, insert, select

from aiinfra_core import artifact_store, canonical_json, database, evaluating, jobs, promoting, registering
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.evidence import bundle, confirmations, dsse
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.claims import subject_of
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.evidence.verification.verify import Question, Report, verify
from aiinfra_core.exporting.export import export
from aiinfra_core.keys import loaded_signer
from aiinfra_core.registry import attestations, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.signing.local import LocalSigner, from_base64
from aiinfra_core.tables import approval_withdrawals, approvals
from aiinfra_core.tables import attestations as attestations_table
from aiinfra_core.trusting import changing
from tests.simulators import tampering
from tests.simulators.postgres import made_database


@dataclass(frozen=True)
class Known:
    """An export, an earlier one of the same, one of another model, the pinned root, and the installation they are from."""

    export: Path
    older: Path
    other: Path
    pinned: Path
    settings: Settings


SIGNED_HERE = (Purpose.ARTIFACT, Purpose.EVALUATION, Purpose.PROMOTION, Purpose.AUDIT, Purpose.VOUCHING)
ROOT_KEY, TARGETS_KEY = (from_base64(b64encode(bytes([seed]) * 32).decode()) for seed in (1, 2))


def trusted(signer: LocalSigner, owner: str = "operator", *purposes: Purpose, roles: tuple[str, ...] = (), **more: object) -> TrustedKey:
    """Return the entry of a signer's key."""
    key = signer.public_key
    entry = {"keyid": key.keyid, "public_key": key.base64, "signer_id": signer.signer_id, "owner": owner, "roles": roles}
    return TrustedKey.model_validate({**entry, "purposes": purposes or SIGNED_HERE, **more})


def with_trust(settings: Settings, *more: TrustedKey, thresholds: dict[str, dict[str, int]] | None = None) -> Settings:
    """Make a trust root over the settings' own signer and return the settings with it."""
    folder = settings.home / "trust"
    own = loaded_signer(settings, Purpose.AUDIT)
    assert isinstance(own, LocalSigner)
    trust = Trust(keys=(trusted(own), *more), thresholds=thresholds or {}, logs=(settings.log_origin,))
    plan = RootPlan((ROOT_KEY.public_key,), 1, TARGETS_KEY.public_key)
    changing.begin(folder, plan, trust, signers=[ROOT_KEY], targets_signer=TARGETS_KEY)
    return settings.model_copy(update={"trust_root": folder / "1.root.json"})


def trained(settings: Settings, model: str = "rainfall", seed: int = 1) -> Artifact:
    """Train and register a version whose artifact is one file."""
    spec = TrainingSpec(model=model, code_ref=f"/code@{'a' * 40}", container_digest=f"sha256:{'b' * 64}", seed=seed)
    job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
    return registering.register(settings, registering.registration_of(job))


def directory_model(settings: Settings, scratch: Path, model: str = "rainfall", content: str = "weights") -> Artifact:
    """Register a version without provenance whose artifact is a directory."""
    source = scratch / f"source-{uuid4().hex}"
    (source / "layers").mkdir(parents=True)
    (source / "config.json").write_text('{"layers": 2}')
    (source / "layers" / "0.bin").write_text(content)
    (source / "layers" / "1.bin").write_text(content[::-1])
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{source.name}")
    request = RegistrationRequest(model=model, artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    return registering.register(settings, request)


def promoted(settings: Settings, artifact: Artifact, environment: str = "prod", quality: float = 0.9) -> UUID:
    """Promote an artifact on a claimed score."""
    request = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by="paul")
    promotion = promoting.promote(settings, request)
    assert promotion.status is PromotionStatus.APPLIED, promotion.reason
    return promotion.id


def promoted_with(settings: Settings, artifact: Artifact, approvers: dict[str, LocalSigner], changes: dict[str, object]) -> None:
    """Promote an artifact; before it is applied these people approve it, each with a key; `changes` are to what they say."""
    request = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    promotion_id = promoting.request_promotion(settings, request)
    promoting.decide(settings, promotion_id)
    promoting.sign_manifest(settings, promotion_id)
    for approver, signer in approvers.items():
        approve(settings, artifact, promotion_id, approver, signer, changes)
    assert promoting.apply_promotion(settings, promotion_id).status is PromotionStatus.APPLIED


def approve(
    settings: Settings, artifact: Artifact, promotion_id: UUID, approver: str, signer: LocalSigner, changes: dict[str, object]
) -> str:
    """Record somebody's signed approval of a promotion with its event, whatever it is worth; return its digest."""
    with database.transaction(settings) as tx:
        promotion = promotions.get(tx, promotion_id)
    at = datetime.now(UTC)
    said: dict[str, Any] = {
        "promotion_id": promotion_id,
        "model": artifact.model,
        "environment": promotion.environment,
        "subject": subject_of(artifact),
        "manifest": promotion.manifest,
        "approver": approver,
        "approved_at": at,
        "expires_at": at + timedelta(hours=1),
        **changes,
    }
    build = confirmations.vouched_approval if "issuer" in said else confirmations.approval
    row = {
        "id": uuid4(),
        "promotion_id": promotion_id,
        "manifest": promotion.manifest,
        "approver": said["approver"],
        "means": "identity" if "issuer" in said else "key",
        "roles": canonical_json.dumps(sorted(said.get("roles", ()))).decode(),
        "comment": None,
        "expires_at": said["expires_at"],
        "created_at": said["approved_at"],
    }
    return _tell(settings, "approval.given", approvals, row, attest(build(**said), signer))


def take_back(settings: Settings, artifact: Artifact, promotion_id: UUID, approval: str, by: str, signer: LocalSigner) -> None:
    """Record the withdrawal of an approval with its event, also where the service would refuse it."""
    with database.transaction(settings) as tx:
        promotion = promotions.get(tx, promotion_id)
        approval_id = tx.execute(select(approvals.c.id).where(approvals.c.attestation == approval)).scalar_one()
    payload = confirmations.withdrawal(
        approval=approval,
        promotion_id=promotion_id,
        model=artifact.model,
        environment=promotion.environment,
        subject=subject_of(artifact),
        manifest=promotion.manifest or "",
        withdrawn_by=by,
        withdrawn_at=(at := datetime.now(UTC)),
    )
    row = {"approval_id": approval_id, "reason": None, "withdrawn_by": by, "created_at": at}
    _tell(settings, "approval.withdrawn", approval_withdrawals, row, attest(payload, signer))


def _tell(settings: Settings, event_type: str, table: Table, row: dict[str, Any], statement: Attestation) -> str:
    at, row = datetime.now(UTC), {**row, "attestation": statement.digest}
    with database.transaction(settings) as tx:
        kept = attestations.row_of(statement, at)
        tx.execute(insert(attestations_table), kept)
        tx.execute(insert(table), row)
        rows = {"attestations": kept, table.name: row}
        append(tx, event(event_type, at=at, actor="somebody", request_id=f"approve:{uuid4()}", subject=statement.digest, rows=rows))
    return statement.digest


def exported(settings: Settings, reference: str, folder: Path, **options: object) -> Path:
    """Export something and return the directory."""
    return export(settings, reference, folder, exported_by="audra", **options).folder  # type: ignore[arg-type]


def checked(folder: Path, pinned: Path, **question: object) -> Report:
    """Verify an export as an auditor would."""
    asked = {"pinned": pinned.read_bytes(), "now": datetime.now(UTC), **question}
    return verify(bundle.read(folder), Question(**asked))  # type: ignore[arg-type]


def problems(report: Report) -> list[str]:
    """Return everything that was found, each as `STEP PLACE: DETAIL`."""
    return [f"{step.number} {found.place}: {found.detail}" for step in report.steps.values() for found in step.problems]


def copied(export: Path, folder: Path) -> Path:
    """Copy an export so that it can be tampered with."""
    shutil.copytree(export, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@contextmanager
def installation(server: str, template: str, folder: Path) -> Iterator[Settings]:
    """Give an installation with a trust root in a database of its own."""
    with made_database(server, template) as url:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64=b64encode(secrets.token_bytes(32)).decode(),
            signer_id="test",
        )
        yield with_trust(settings)


@pytest.fixture(scope="module")
def known(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Give an export of a model promoted three times, with another model's promotions in between, and an older one."""
    folder = tmp_path_factory.mktemp("exports")
    with installation(postgres_server, migrated_template, folder) as settings:
        first, second = trained(settings), trained(settings, seed=2)
        other = directory_model(settings, folder, "snowfall")
        evaluating.record_measured(settings, first.id)
        promoted(settings, first)
        promoted(settings, other)
        older = exported(settings, "rainfall@prod", folder / "older")
        promoted(settings, second, quality=0.85)
        promoted(settings, other, "staging")
        promoted(settings, first, quality=0.95)
        assert settings.trust_root is not None
        export, of_other = (exported(settings, f"{model}@prod", folder / f"export-{model}") for model in ("rainfall", "snowfall"))
        yield Known(export, older, of_other, settings.trust_root, settings)


def signed_again(folder: Path, settings: Settings, **changes: object) -> Path:
    """List the files anew and sign the export's statement anew, as a holder of the audit key could; `changes` are to its predicate."""
    tampering.list_again(folder)
    payload = json.loads(dsse.parse((folder / bundle.STATEMENT).read_bytes()).payload)
    payload["predicate"] |= {"files": sha256((folder / bundle.FILES).read_bytes()).hexdigest(), **changes}
    (folder / bundle.STATEMENT).write_bytes(dsse.sign(canonical_json.dumps(payload), loaded_signer(settings, Purpose.AUDIT)))
    return folder
