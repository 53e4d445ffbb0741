"""What an approver signs with a key of their own, where they type: the manifest is looked at first, here, and not only at the service."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiinfra_core.cli.typed import person
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.embedded.defaults import settings_without_database
from aiinfra_core.errors import BadInput, EvidenceBroken, Misconfigured, NotFound
from aiinfra_core.evidence import confirmations, dsse, statement
from aiinfra_core.evidence.predicates import Promotion as Manifest
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.keys import signer_at, trust_of
from aiinfra_core.settings import Settings
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer
from aiinfra_core.signing.uri import parse
from aiinfra_core.wire.approvals import SentApprovals


def signed_approval(uri: str, approver: str | None, found: SentApprovals, at: datetime, *, here: bool) -> bytes:
    """Return an approval of exactly the manifest that was found, signed with the key of this URI.

    Raises:
        BadInput: there is no manifest, or the URI names no signer.
        EvidenceBroken: the manifest says something else than was told of it.
        Misconfigured, Unavailable: the key cannot be loaded, or does not sign.
    """
    settings, promotion = _trusting(here), found.promotion
    signer = _signer(settings, uri)
    return dsse.sign(
        confirmations.approval(
            promotion_id=promotion.id,
            model=promotion.model,
            environment=promotion.environment,
            subject=_subject(settings, found),
            manifest=promotion.manifest or "",
            approver=approver or _owner(settings, signer.public_key),
            approved_at=at,
            expires_at=at + timedelta(hours=found.approval_hours),
        ),
        signer,
    )


def signed_withdrawal(uri: str, approval_id: UUID, found: SentApprovals, at: datetime, *, here: bool) -> bytes:
    """Return the withdrawal of an approval, signed with the key of this URI.

    Raises:
        NotFound: the promotion has no such approval.
        EvidenceBroken, Misconfigured, Unavailable: as `signed_approval`.
    """
    approval = next((one for one in found.approvals if one.id == approval_id), None)
    if approval is None:
        raise NotFound(f"Promotion {found.promotion.id} has no approval {approval_id}.")
    settings = _trusting(here)
    payload = confirmations.withdrawal(
        approval=approval.attestation,
        promotion_id=found.promotion.id,
        model=found.promotion.model,
        environment=found.promotion.environment,
        subject=_subject(settings, found),
        manifest=approval.manifest,
        withdrawn_by=approval.approver,
        withdrawn_at=at,
    )
    return dsse.sign(payload, _signer(settings, uri))


def _signer(settings: Settings, typed: str) -> Signer:
    try:
        parse(typed, "--key (or AI_INFRA_APPROVAL_SIGNER_URI)")
    except Misconfigured as error:
        raise BadInput(str(error)) from None
    return signer_at(settings, typed)


# The trust root of this home says whose keys count here, and nothing about a service elsewhere.
def _trusting(here: bool) -> Settings:
    return settings_without_database() if here else Settings()


# What is signed is a digest: whoever signs it sees for themselves that the manifest behind it says what they were shown.
def _subject(settings: Settings, found: SentApprovals) -> Subject:
    promotion, artifact = found.promotion, found.artifact
    if found.manifest is None:
        raise BadInput(f"Promotion {promotion.id} is {promotion.status} and has no manifest to agree to.")
    said = statement.parse(_payload(settings, base64.b64decode(found.manifest.envelope_base64), promotion.environment))
    manifest = said.predicate.promotion if isinstance(said.predicate, Manifest) else None
    subject = Subject(promotion.model, DigestKind(artifact.digest_kind), artifact.checksum)
    told = (promotion.manifest, subject, str(promotion.id), promotion.environment, promotion.sequence, promotion.promoted_by)
    if manifest is None or told != (
        said.digest,
        said.subject,
        manifest.promotion_id,
        manifest.environment,
        manifest.sequence,
        manifest.requested_by,
    ):
        raise EvidenceBroken("manifest", "it does not say what was told of the promotion; nothing was signed.")
    return subject


def _payload(settings: Settings, envelope: bytes, environment: str) -> bytes:
    if settings.trust_root is None:
        return dsse.parse(envelope).payload
    return dsse.open_envelope(envelope, keys_for(trust_of(settings), Purpose.PROMOTION, at=datetime.now(UTC), environment=environment))


def _owner(settings: Settings, key: PublicKey) -> str:
    if settings.trust_root is None:
        return person(None)
    return next((entry.owner for entry in trust_of(settings).keys if entry.keyid == key.keyid), None) or person(None)
