"""What a promotion waits for and who agreed to it, as it is told to people: gathered as of one moment, nothing is changed.

Whose approval counts is decided in `agreeing`; giving one is `approving`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from aiinfra_core import agreeing, database
from aiinfra_core.agreeing import Weighed
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.registry import dossier, promotion_story, reading, rollouts, tried_rows
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.promotion_story import Story
from aiinfra_core.registry.tried_rows import Tried
from aiinfra_core.settings import Settings
from aiinfra_core.wire.approvals import SentAgreement, SentApproval, SentApprovals, SentBack, sent_approval
from aiinfra_core.wire.records import sent_artifact, sent_promotion
from aiinfra_core.wire.rollouts import SentRolloutSpec


@dataclass(frozen=True)
class Awaited:
    """The approvals of a promotion with what each counts for, role -> how many have to agree, and the roles nobody fills yet.

    Those of one that waits for nothing count as they did when they were used: as it was applied, or its rollout began. `overridden` is the
    rollout that had sent its bytes back, where they are tried again, `tries` how many rollouts of these bytes came to nothing there before.
    """

    at: datetime
    approvals: tuple[Weighed, ...]
    required: Mapping[str, int]
    missing: tuple[str, ...]
    overridden: SentBack | None
    tries: int


def approvals_of(settings: Settings, promotion_id: UUID) -> SentApprovals:
    """Return what a promotion waits for, its signed manifest and who agreed.

    Raises:
        NotFound: there is no such promotion.
        EvidenceBroken, Misconfigured: nobody can tell whose signatures count.
    """
    with database.autocommit(settings) as connection:
        known = dossier.of_promotion(connection, promotion_id)
        manifest = reading.statement(connection, known.promotion.manifest) if known.promotion.manifest else None
    found, spec = _awaited(settings, known), known.promotion.rollout
    return SentApprovals.model_construct(
        promotion=sent_promotion(known.promotion),
        artifact=sent_artifact(known.artifact),
        manifest=manifest,
        required=dict(found.required),
        missing=found.missing,
        pending_until=known.promotion.pending_until,
        approval_hours=agreeing.conditions_of(known.promotion).approval_hours,
        approvals=tuple(map(_sent, found.approvals)),
        rollout=SentRolloutSpec.model_validate(spec.model_dump()) if spec else None,
        sent_back=found.overridden,
        tries=found.tries,
    )


def agreement(settings: Settings, promotion_id: UUID, approval_id: UUID) -> SentAgreement:
    """Return one approval of a promotion, and how the promotion stands.

    Raises:
        NotFound, EvidenceBroken, Misconfigured: as `approvals_of`.
    """
    with database.autocommit(settings) as connection:
        known = dossier.of_promotion(connection, promotion_id)
    one = next(one for one in _awaited(settings, known).approvals if one.given.approval.id == approval_id)
    return SentAgreement.model_construct(approval=_sent(one), promotion=sent_promotion(known.promotion))


def story_of(settings: Settings, promotion_id: UUID) -> tuple[Story, Awaited]:
    """Return all that an approver looks at.

    Raises:
        NotFound, EvidenceBroken, Misconfigured: as `approvals_of`.
    """
    with database.snapshot(settings) as tx:
        story = promotion_story.of_promotion(tx, promotion_id)
    return story, _awaited(settings, story.known)


def _awaited(settings: Settings, known: Dossier) -> Awaited:
    promotion, at = known.promotion, datetime.now(UTC)
    waits = promotion.status in (PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED)
    tried = Tried(promotion.environment, promotion.model, known.artifact.checksum, None if waits else promotion.created_at)
    with database.autocommit(settings) as connection:
        rollout = rollouts.of_promotion(connection, promotion.id) if promotion.rollout else None
        (row,), (tries,) = tried_rows.overridden(connection, [promotion.overrides]), tried_rows.numbers(connection, [tried])
    used = rollout.created_at if rollout else promotion.applied_at
    return Awaited(
        at=at,
        approvals=tuple(agreeing.weighed(settings, known, used or at, used=used is not None)),
        required=agreeing.needed(settings, promotion, at) if waits else promotion.approvals_required or {},
        missing=tuple(agreeing.missing(settings, known, at)) if waits else (),
        overridden=SentBack.model_construct(rollout=row["id"], reason=row["reason"], ended_at=row["ended_at"]) if row else None,
        tries=tries,
    )


def _sent(one: Weighed) -> SentApproval:
    return sent_approval(one.given.approval, one.given.withdrawal, one.roles, one.objection)
