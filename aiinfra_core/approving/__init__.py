"""Agree to a promotion, or take that back; the last approval that was missing carries the promotion on.

An approver signs with a key of theirs that the trust root lists, or the service vouches for whom it knows (`statements`). Whose
agreement counts is decided in `agreeing`, the promotion's steps in `promoting`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

from aiinfra_core import agreeing, database, promoting
from aiinfra_core.approving import statements
from aiinfra_core.approving.statements import Vouched, longest, unsigned_approval, unsigned_withdrawal
from aiinfra_core.domain.actor import checked_actor, same_person_key
from aiinfra_core.domain.approval import Approval, Means, Withdrawal
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.errors import BadInput, Conflict, Forbidden, Outdated
from aiinfra_core.evidence import claims
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import approvals, dossier
from aiinfra_core.registry.approvals import UNDECIDED, Given
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings

MOST_COMMENT = 2000


@dataclass(frozen=True)
class _Given:
    envelope: bytes | None
    identity: Vouched | None
    comment: str | None


def payload_to_sign(settings: Settings, promotion_id: UUID, approver: str, at: datetime) -> bytes:
    """Return the statement with which an approver agrees to a promotion, counting for as long as its policy lets it.

    Raises:
        NotFound: there is no such promotion.
        Conflict: it waits for nobody (any more).
    """
    known = _load(settings, promotion_id)
    _check_waits(settings, known, _now())
    approval = unsigned_approval(known, checked_actor(approver), Means.KEY, at=at, until=at + longest(known))
    return claims.of_approval(approval, known.promotion, known.artifact)


def withdrawal_to_sign(settings: Settings, approval_id: UUID, at: datetime) -> bytes:
    """Return the statement with which an approver takes their approval back.

    Raises:
        NotFound: there is no such approval.
    """
    known, given = _of_approval(settings, approval_id)
    return claims.of_withdrawal(unsigned_withdrawal(given.approval, at=at), given.approval, known.promotion, known.artifact)


def approve(
    settings: Settings,
    promotion_id: UUID,
    *,
    manifest: str,
    envelope: bytes | None = None,
    identity: Vouched | None = None,
    comment: str | None = None,
) -> tuple[Approval, Promotion]:
    """Keep somebody's approval and, if it was the last that was missing, carry the promotion on; asked again, change nothing.

    Args:
        settings: the service's.
        promotion_id: the promotion.
        manifest: digest of the manifest the approver saw.
        envelope: the approver's statement (`payload_to_sign`) in an envelope signed with a key of theirs, or
        identity: whom the service vouches for.
        comment: what the approver wants to be kept with it.

    Raises:
        NotFound: there is no such promotion.
        BadInput: the envelope cannot be read, or neither it nor an identity is given, or both.
        Outdated: the promotion has another manifest than the approver saw.
        Conflict: it waits for nobody (any more).
        Forbidden: the approval does not count: whose it is asked for the promotion, has another part in it or no role that is asked for,
            or it is not signed as it must be.
        Unavailable: a part was lost on the way; the approval may be kept by then, and the same call goes on.
    """
    given = _checked(envelope, identity, comment)
    signed: tuple[Approval, Attestation] | None = None
    while True:  # whoever else changed the promotion meanwhile was quicker: look again at what it is now
        known, at = _load(settings, promotion_id), _now()
        if manifest != known.promotion.manifest:
            raise Outdated(f"Promotion {promotion_id} has not the manifest {manifest[:64]}; look at it again before you agree to it.")
        if kept := _kept_before(settings, known, given, at):
            return kept, promoting.go_on_from(settings, known)
        _check_waits(settings, known, at)
        signed = signed or _signed(settings, known, given, at)
        audit_signer(settings)  # whoever may not sign the event of a change must not make the change
        with database.autocommit(settings) as connection:
            row = approvals.give(connection, known.row, *signed, at=at)
        if row is not None:
            return signed[0], promoting.go_on_from(settings, replace(known, row=row))


def withdraw(
    settings: Settings, approval_id: UUID, *, envelope: bytes | None = None, identity: Vouched | None = None, reason: str | None = None
) -> Withdrawal:
    """Take back an approval before its promotion is applied, in the name of whoever gave it; asked again, change nothing.

    Args:
        settings: the service's.
        approval_id: the approval.
        envelope: the statement (`withdrawal_to_sign`) in an envelope signed with a key of theirs, or
        identity: whom the service vouches for.
        reason: why, in words.

    Raises:
        NotFound: there is no such approval.
        BadInput: the envelope cannot be read, or neither it nor an identity is given, or both.
        Forbidden: it is somebody else's, or not signed as it must be.
        Conflict: the promotion was applied, or is over.
    """
    by = _checked(envelope, identity, reason)
    signed: tuple[Withdrawal, Attestation] | None = None
    while True:
        (known, given), at = _of_approval(settings, approval_id), _now()
        if identity is not None and identity.approver != given.approval.approver:
            raise Forbidden(f"Approval {approval_id} was given by {given.approval.approver}, and only they take it back.")
        if given.withdrawal is not None:
            return given.withdrawal
        if known.promotion.status not in UNDECIDED:
            _refuse_over(known.promotion)
        signed = signed or _signed_withdrawal(settings, known, given.approval, by, at)
        audit_signer(settings)
        with database.autocommit(settings) as connection:
            row = approvals.withdraw(connection, known.row, given.approval, *signed, at=at)
        if row is not None:
            promoting.go_on_from(settings, replace(known, row=row))  # one that was approved by now has nothing left to be applied on
            return signed[0]


def _checked(envelope: bytes | None, identity: Vouched | None, comment: str | None) -> _Given:
    if (envelope is None) == (identity is None):
        raise BadInput("Sign with a key of yours, or let the service vouch for you: one of the two.")
    if comment is not None and len(comment) > MOST_COMMENT:
        raise BadInput(f"A comment has at most {MOST_COMMENT} letters; this one has {len(comment)}.")
    return _Given(envelope, identity, comment)


# Read after the promotion's row: whoever keeps the same statement from then on changes that row, and is seen.
def _kept_before(settings: Settings, known: Dossier, given: _Given, at: datetime) -> Approval | None:
    with database.autocommit(settings) as connection:
        kept = approvals.of_promotion(connection, known.promotion.id)
    if given.envelope is None:
        return next((one.approval for one in kept if _says_the_same(one, given, known, at)), None)
    digest = statements.digest_of(given.envelope)
    same = next((one for one in kept if one.approval.attestation == digest), None)
    if same is not None and same.withdrawal is not None:
        raise Conflict(f"Approval {same.approval.id} was taken back; to agree again, sign a new statement.")
    return same.approval if same else None


def _says_the_same(kept: Given, given: _Given, known: Dossier, at: datetime) -> bool:
    if given.identity is None or kept.withdrawal is not None or at >= kept.approval.expires_at:
        return False
    approval, who = kept.approval, given.identity
    said = (approval.means, approval.manifest, approval.approver, approval.roles)
    return said == (Means.IDENTITY, known.promotion.manifest, who.approver, tuple(sorted(who.roles)))


def _signed(settings: Settings, known: Dossier, given: _Given, at: datetime) -> tuple[Approval, Attestation]:
    if given.envelope is not None:
        approval, signed = statements.approval_by_key(settings, known, given.envelope, given.comment, at)
        _check_counts(settings, known, approval.approver, approval.roles, at)
        return approval, signed
    assert given.identity is not None  # noqa: S101 - one of the two is there
    _check_counts(settings, known, given.identity.approver, given.identity.roles, at)
    return statements.vouched_approval(settings, known, given.identity, given.comment, at)


def _signed_withdrawal(settings: Settings, known: Dossier, approval: Approval, by: _Given, at: datetime) -> tuple[Withdrawal, Attestation]:
    if by.envelope is not None:
        return statements.withdrawal_by_key(settings, known, approval, by.envelope, by.comment, at)
    assert by.identity is not None  # noqa: S101 - one of the two is there
    return statements.vouched_withdrawal(settings, known, approval, by.identity, by.comment, at)


def _check_counts(settings: Settings, known: Dossier, approver: str, roles: tuple[str, ...], at: datetime) -> None:
    with database.autocommit(settings) as connection:
        barred = agreeing.barred_from(connection, known)
    if part := barred.get(same_person_key(approver)):
        raise Forbidden(f"{approver} {part}; somebody else has to agree.")
    asked = agreeing.needed(settings, known.promotion, at)
    if not asked.keys() & set(roles):
        raise Forbidden(
            f"{approver} has the roles {', '.join(roles) or '(none)'}; {known.promotion.environment} asks for {', '.join(asked)}."
        )


def _check_waits(settings: Settings, known: Dossier, at: datetime) -> None:
    promotion = known.promotion
    if promotion.status is PromotionStatus.PENDING_APPROVAL and promotion.pending_until is not None and promotion.pending_until <= at:
        promotion = promoting.go_on_from(settings, known)
    if promotion.status not in UNDECIDED or promotion.pending_until is None:
        _refuse_over(promotion)


def _refuse_over(promotion: Promotion) -> NoReturn:
    if promotion.status is PromotionStatus.ROLLING_OUT:
        stop = f"aiinfra rollout abort {promotion.model}@{promotion.environment} --reason …"
        raise Conflict(f"The approvals of promotion {promotion.id} counted when its rollout began, and stay as they are. To end it: {stop}")
    why = f" ({promotion.reason})" if promotion.reason else ""
    raise Conflict(f"Promotion {promotion.id} is {promotion.status}{why}; it waits for nobody, and approvals of it stay as they are.")


def _of_approval(settings: Settings, approval_id: UUID) -> tuple[Dossier, Given]:
    with database.autocommit(settings) as connection:
        promotion_id = approvals.get(connection, approval_id).approval.promotion_id
        known = dossier.of_promotion(connection, promotion_id)
        return known, approvals.get(connection, approval_id)  # after the row, as `_kept_before`


def _load(settings: Settings, promotion_id: UUID) -> Dossier:
    with database.autocommit(settings) as connection:
        return dossier.of_promotion(connection, promotion_id)


def _now() -> datetime:
    return datetime.now(UTC)
