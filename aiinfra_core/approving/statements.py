"""The statements of approvals and withdrawals: what they must say, signed with an approver's key or by the service that vouches for them.

Nothing is kept here; who may approve at all is decided in `agreeing`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from aiinfra_core import agreeing
from aiinfra_core.domain.actor import checked_actor
from aiinfra_core.domain.approval import UNPROVEN, Approval, Means, Withdrawal
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, EvidenceBroken, Forbidden, Misconfigured
from aiinfra_core.evidence import claims, dsse, statement
from aiinfra_core.evidence import confirmation_predicates as shapes
from aiinfra_core.evidence.attestation import attest, expect
from aiinfra_core.evidence.predicates import Predicate
from aiinfra_core.evidence.trust import keys_for, listed
from aiinfra_core.keys import configured_signer, trust_of
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings

LARGEST_ENVELOPE = 16 * 1024
_NOT_SIGNED = "0" * 64


@dataclass(frozen=True)
class Vouched:
    """Somebody whom `issuer` named to the service, with the roles that their approvals in this promotion's environment count for."""

    approver: str
    roles: tuple[str, ...]
    issuer: str


def longest(known: Dossier) -> timedelta:
    """Return how long an approval of a promotion may count: what the policy that allowed it says."""
    return timedelta(hours=agreeing.conditions_of(known.promotion).approval_hours)


def unsigned_approval(
    known: Dossier,
    approver: str,
    means: Means,
    *,
    at: datetime,
    until: datetime,
    roles: Iterable[str] = (),
    comment: str | None = None,
) -> Approval:
    """Return an approval of a promotion's manifest, before it is signed."""
    return Approval(
        id=uuid4(),
        promotion_id=known.promotion.id,
        manifest=known.promotion.manifest or "",
        approver=approver,
        means=means,
        roles=tuple(sorted(roles)),
        comment=comment,
        attestation=_NOT_SIGNED,
        expires_at=until,
        created_at=at,
    )


def unsigned_withdrawal(approval: Approval, *, at: datetime, reason: str | None = None) -> Withdrawal:
    """Return the withdrawal of an approval by whoever gave it, before it is signed."""
    return Withdrawal(approval_id=approval.id, reason=reason, attestation=_NOT_SIGNED, withdrawn_by=approval.approver, created_at=at)


def approval_by_key(settings: Settings, known: Dossier, envelope: bytes, comment: str | None, at: datetime) -> tuple[Approval, Attestation]:
    """Return the approval that an envelope signed with an approver's own key gives.

    Raises:
        BadInput: the envelope cannot be read, or its times are not what they must be.
        Forbidden: it says something else, or is not signed with a key that counts for it.
        Misconfigured: there is no trust root that lists whose keys count.
    """
    trust, said = _trust_root(settings), said_in(envelope)
    if type(said) is not shapes.Approval:
        raise BadInput("The envelope holds no approval; sign the statement of the promotion you agree to.")
    since, until = datetime.fromisoformat(said.approved_at), datetime.fromisoformat(said.expires_at)
    _check_clock(known.row["created_at"], since, at)
    if until <= at or until - since > longest(known):
        raise BadInput(f"An approval must not have expired, and count for at most {longest(known)}; sign a new one.")
    try:
        roles = agreeing.roles_of_signer(trust, envelope, said.approver)
        approval = unsigned_approval(known, said.approver, Means.KEY, at=since, until=until, roles=roles, comment=comment)
        signed = _opened(trust, known, envelope, claims.of_approval(approval, known.promotion, known.artifact), at)
    except EvidenceBroken as error:
        raise Forbidden(f"This approval does not count: {error}") from error
    return approval.model_copy(update={"attestation": signed.digest}), signed


def vouched_approval(settings: Settings, known: Dossier, who: Vouched, comment: str | None, at: datetime) -> tuple[Approval, Attestation]:
    """Sign an approval in the name of somebody the service knows.

    Raises:
        BadInput: the approver or the issuer cannot be recorded.
        Forbidden: nobody proved to be them, and there is a trust root.
        Misconfigured: the service's signature would not count for that.
        Unavailable: the signer gave none.
    """
    _check_proven(settings, who)
    approver, until = checked_actor(who.approver), at + longest(known)
    approval = unsigned_approval(known, approver, Means.IDENTITY, at=at, until=until, roles=who.roles, comment=comment)
    payload = claims.of_approval(approval, known.promotion, known.artifact, checked_actor(who.issuer))
    signed = attest(payload, configured_signer(settings, Purpose.VOUCHING, known.promotion.environment))
    return approval.model_copy(update={"attestation": signed.digest}), signed


def withdrawal_by_key(
    settings: Settings, known: Dossier, approval: Approval, envelope: bytes, reason: str | None, at: datetime
) -> tuple[Withdrawal, Attestation]:
    """Return the withdrawal that an envelope signed with the approver's own key makes.

    Raises:
        BadInput, Forbidden, Misconfigured: as `approval_by_key`.
    """
    trust, said = _trust_root(settings), said_in(envelope)
    if type(said) is not shapes.Withdrawal:
        raise BadInput("The envelope holds no withdrawal; sign the statement that takes your approval back.")
    since = datetime.fromisoformat(said.withdrawn_at)
    _check_clock(approval.created_at, since, at)
    withdrawal = unsigned_withdrawal(approval, at=since, reason=reason)
    try:
        agreeing.roles_of_signer(trust, envelope, approval.approver)
        expected = claims.of_withdrawal(withdrawal, approval, known.promotion, known.artifact)
        signed = _opened(trust, known, envelope, expected, at)
    except EvidenceBroken as error:
        raise Forbidden(f"This withdrawal does not count: {error}") from error
    return withdrawal.model_copy(update={"attestation": signed.digest}), signed


def vouched_withdrawal(
    settings: Settings, known: Dossier, approval: Approval, who: Vouched, reason: str | None, at: datetime
) -> tuple[Withdrawal, Attestation]:
    """Sign a withdrawal in the name of somebody the service knows.

    Raises:
        BadInput, Forbidden, Misconfigured, Unavailable: as `vouched_approval`.
    """
    _check_proven(settings, who)
    withdrawal = unsigned_withdrawal(approval, at=at, reason=reason)
    payload = claims.of_withdrawal(withdrawal, approval, known.promotion, known.artifact, checked_actor(who.issuer))
    signed = attest(payload, configured_signer(settings, Purpose.VOUCHING, known.promotion.environment))
    return withdrawal.model_copy(update={"attestation": signed.digest}), signed


def check_own(envelope: bytes, actor: str) -> None:
    """See that an envelope holds nobody's agreement, or its withdrawal, but that of `actor`, who proved who they are and handed it in.

    Whose keys sign for whom is what the trust root says; that the same person goes by another name elsewhere is what nobody can see.

    Raises:
        BadInput: it cannot be read.
        Forbidden: it is somebody else's.
    """
    said = said_in(envelope)
    name = said.approver if isinstance(said, shapes.Approval) else said.withdrawn_by if isinstance(said, shapes.Withdrawal) else actor
    if name != actor:
        raise Forbidden(
            f"You are {actor}, and the envelope is in the name of {name[:64]}: everybody hands in their own. If both are you, have the"
            " owner of your key named in the trust root exactly as your identity provider names you."
        )


def said_in(envelope: bytes) -> Predicate:
    """Return what an envelope says, which is not to be believed yet.

    Raises:
        BadInput: it cannot be read.
    """
    return _read(envelope).predicate


def digest_of(envelope: bytes) -> str:
    """Return the digest of the statement in an envelope.

    Raises:
        BadInput: it cannot be read.
    """
    return _read(envelope).digest


def _read(envelope: bytes) -> statement.Statement:
    if len(envelope) > LARGEST_ENVELOPE:
        raise BadInput(f"The envelope has {len(envelope)} bytes; the statement of an approval needs fewer than {LARGEST_ENVELOPE}.")
    try:
        return statement.parse(dsse.parse(envelope).payload)
    except EvidenceBroken as error:
        raise BadInput(f"The envelope cannot be read: {error}") from error


def _opened(trust: Trust, known: Dossier, envelope: bytes, expected: bytes, at: datetime) -> Attestation:
    expect(envelope, keys_for(trust, Purpose.APPROVAL, at=at, environment=known.promotion.environment), expected)
    signature, said = dsse.parse(envelope).signatures[0], statement.parse(expected)
    return Attestation(
        digest=said.digest,
        predicate_type=said.predicate_type,
        subject_checksum=said.subject.checksum,
        envelope=envelope,
        signer_id=listed(trust, signature.keyid).signer_id,
        signature=signature.base64,
    )


def _check_proven(settings: Settings, who: Vouched) -> None:
    if settings.trust_root is not None and who.issuer in UNPROVEN:
        raise Forbidden(
            f"Nobody proves to be {who.approver} ({who.issuer}): sign with a key that the trust root lists, or unset AI_INFRA_TRUST_ROOT"
            " and move this home's own trust root away."
        )


def _check_clock(earliest: datetime, said: datetime, now: datetime) -> None:
    if not earliest <= said <= now:
        raise BadInput(f"The statement is of {said.isoformat()}, and here it is {now.isoformat()}; set the clock and sign again.")


def _trust_root(settings: Settings) -> Trust:
    if settings.trust_root is None:
        raise Misconfigured(
            "Whose keys count for approvals is listed in a trust root; make one with aiinfra trust init, or set AI_INFRA_TRUST_ROOT."
        )
    return trust_of(settings)
