"""Who has to agree to a promotion, and whose agreement counts at a moment.

Giving and withdrawing an approval lives in `approving`; how owners fill the places of roles in `evidence.verification.approvals`, where an
auditor applies the same rule offline.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aiinfra_core import database
from aiinfra_core.domain.actor import same_person_key
from aiinfra_core.domain.approval import UNPROVEN, Approval, Means
from aiinfra_core.domain.promotion import Conditions, Promotion
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, EvidenceBroken, Misconfigured
from aiinfra_core.evidence import claims, dsse, statement
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.evidence.confirmation_predicates import VouchedApproval
from aiinfra_core.evidence.trust import listed, threshold
from aiinfra_core.evidence.verification.approvals import missing_roles, most
from aiinfra_core.keys import trust_of
from aiinfra_core.policy import files, gate
from aiinfra_core.registry import approvals, evidence, people, policy_decisions
from aiinfra_core.registry.approvals import Given
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.promotion_moves import Waits
from aiinfra_core.rules.document import Policy
from aiinfra_core.settings import Settings

_judges_at_the_end: dict[tuple[str, bool], bool] = {}  # by digest, and whether it is about a rollback, so it never changes
PURPOSE_OF = {Means.KEY: Purpose.APPROVAL, Means.IDENTITY: Purpose.VOUCHING}


@dataclass(frozen=True)
class Weighed:
    """An approval, the roles it counts for now, and why it counts for none."""

    given: Given
    roles: frozenset[str]
    objection: str | None


def waits_for(settings: Settings, promotion: Promotion, at: datetime) -> Waits | None:
    """Return whom a promotion that the gate allowed has to wait for, None where it need not wait.

    That is what its policy and the trust root ask for; nobody where it only is to be judged once more before it is applied.
    """
    conditions = conditions_of(promotion)
    asked = most(conditions.approvals, _asked_by_trust(settings, promotion.environment, at))
    waits = asked or _is_judged_at_the_end(settings, promotion)
    return Waits(asked, at + timedelta(hours=conditions.pending_hours)) if waits else None


# Where it waits for nobody it is judged again at once: rules of the last stage are not only for those that waited for people.
def _is_judged_at_the_end(settings: Settings, promotion: Promotion) -> bool:
    decision = promotion.decision
    if decision is None or decision.source != gate.LOCAL or decision.policy_digest is None:
        return False
    of = (decision.policy_digest, promotion.rollback is not None)
    if of not in _judges_at_the_end:
        policy = _policy(settings, promotion, decision.policy_digest)
        if policy is None:
            return True  # one of an earlier release, whose text is not kept here
        _judges_at_the_end[of] = policy.is_judged_at_the_end(rollback=promotion.rollback is not None)
    return _judges_at_the_end[of]


# Nearly always it is the one that is configured; where that was changed since, the one that was applied is kept.
def _policy(settings: Settings, promotion: Promotion, digest: str) -> Policy | None:
    with suppress(Misconfigured):
        configured = files.load(settings, promotion.environment, promotion.model)
        if configured.digest() == digest:
            return configured
    with database.autocommit(settings) as connection:
        return policy_decisions.policy(connection, digest)


def conditions_of(promotion: Promotion) -> Conditions:
    """Return what the policy that allowed a promotion asks for besides."""
    return (promotion.decision.conditions if promotion.decision else None) or Conditions()


def needed(settings: Settings, promotion: Promotion, at: datetime) -> dict[str, int]:
    """Return role -> how many owners have to agree: what its manifest says, or the trust root by now, whichever is more."""
    return most(promotion.approvals_required or {}, _asked_by_trust(settings, promotion.environment, at))


def asks_for_more(settings: Settings, promotion: Promotion, conditions: Conditions | None, at: datetime) -> bool:
    """Say whether a policy asks for more than what was checked of those who agreed: more owners, or more people kept apart."""
    if conditions is None:
        return False
    checked = needed(settings, promotion, at)
    kept_apart = set(conditions.approver_is_not) - set(conditions_of(promotion).approver_is_not)
    return most(checked, conditions.approvals) != checked or bool(checked and kept_apart)


def missing(settings: Settings, known: Dossier, at: datetime) -> list[str]:
    """Return the roles in which somebody still has to agree to a promotion, each as often as it is missing."""
    asked = needed(settings, known.promotion, at)
    if not asked:
        return []
    owners: dict[str, frozenset[str]] = {}
    for one in weighed(settings, known, at):
        owner = same_person_key(one.given.approval.approver)
        owners[owner] = owners.get(owner, frozenset()) | one.roles
    return missing_roles(owners, asked)


def weighed(settings: Settings, known: Dossier, at: datetime, *, used: bool = False) -> list[Weighed]:
    """Return the approvals of a promotion with what each counts for at a moment, oldest first.

    Where they were `used` at that moment, whoever evaluated it later was no evaluator yet.
    """
    trust = trust_of(settings)
    with database.autocommit(settings) as connection:
        given = approvals.of_promotion(connection, known.promotion.id)
        barred = barred_from(connection, known, at if used else None) if given else {}
        return [_unless_played(settings, _weighed(connection, trust, known, one, barred, at)) for one in given]


def barred_from(connection: Connection, known: Dossier, until: datetime | None = None) -> Mapping[str, str]:
    """Return `same_person_key` -> as what they may not approve a promotion: whoever asked for it, and those its policy keeps apart.

    With `until` only by what they had done before that.
    """
    asked = filter(None, (known.promotion.requested_by, known.promotion.asked_by))
    requesters = dict.fromkeys(map(same_person_key, asked), "asked for it")
    kept_apart = conditions_of(known.promotion).approver_is_not
    if not kept_apart:
        return requesters
    parts = people.of_promotion(connection, known, until)
    return {same_person_key(name): f"is its {part}" for part in kept_apart for name in parts[part]} | requesters


def _weighed(connection: Connection, trust: Trust, known: Dossier, given: Given, barred: Mapping[str, str], at: datetime) -> Weighed:
    objection = next(_objections(known, given, barred, at), None)
    try:
        roles = frozenset[str]() if objection else _proven_roles(connection, trust, known, given)
    except (EvidenceBroken, BadInput) as error:
        return Weighed(given, frozenset(), str(error))
    return Weighed(given, roles, objection)


def _objections(known: Dossier, given: Given, barred: Mapping[str, str], at: datetime) -> Iterator[str]:
    approval = given.approval
    if given.withdrawal is not None:
        yield f"it was taken back by {given.withdrawal.withdrawn_by}"
    if approval.manifest != known.promotion.manifest:
        yield "it is about another manifest"
    if part := barred.get(same_person_key(approval.approver)):
        yield f"{approval.approver} {part}"
    if not approval.created_at <= at < approval.expires_at:
        yield f"it counts from {approval.created_at.isoformat()} until {approval.expires_at.isoformat()}"


def _unless_played(settings: Settings, one: Weighed) -> Weighed:
    said = None if one.objection else statement.parse(dsse.parse(one.given.envelope).payload).predicate
    if settings.trust_root is not None and isinstance(said, VouchedApproval) and said.issuer in UNPROVEN:
        return Weighed(one.given, frozenset(), f"nobody proved to be {said.approver}: {said.issuer} says so, and there is a trust root")
    return one


# A key may have been taken back, or its roles, since the approval was given.
def _proven_roles(connection: Connection, trust: Trust, known: Dossier, given: Given) -> frozenset[str]:
    approval, envelope = given.approval, given.envelope
    keys = evidence.keys_that_count(
        connection, trust, PURPOSE_OF[approval.means], envelope, at=approval.created_at, environment=known.promotion.environment
    )
    expect(envelope, keys, expected_of(approval, known, envelope))
    return frozenset(approval.roles) if approval.means is Means.IDENTITY else roles_of_signer(trust, envelope, approval.approver)


def expected_of(approval: Approval, known: Dossier, envelope: bytes) -> bytes:
    """Return the statement an approval must have; who named its approver is what the kept one says.

    Raises:
        EvidenceBroken: what is kept is no statement, or of another kind.
    """
    said = statement.parse(dsse.parse(envelope).payload).predicate
    if isinstance(said, VouchedApproval) != (approval.means is Means.IDENTITY):
        raise EvidenceBroken("predicate type", f"it is no approval by {approval.means}.")
    return claims.of_approval(approval, known.promotion, known.artifact, said.issuer if isinstance(said, VouchedApproval) else None)


def roles_of_signer(trust: Trust, envelope: bytes, owner: str) -> frozenset[str]:
    """Return the roles of the one key an approver signed with.

    Raises:
        EvidenceBroken: it is somebody else's key, not listed, or there is not exactly one signature.
    """
    signatures: Sequence[dsse.Signature] = dsse.parse(envelope).signatures
    if len(signatures) != 1:
        raise EvidenceBroken("signature", "an approval is signed once, by whoever approves.")
    entry = listed(trust, signatures[0].keyid)
    if entry.owner != owner:
        raise EvidenceBroken("signature", f"it is signed with a key of {entry.owner}, not of {owner[:64]}.")
    return frozenset(entry.roles)


def _asked_by_trust(settings: Settings, environment: str, at: datetime) -> Mapping[str, int]:
    return {} if settings.trust_root is None else threshold(trust_of(settings), environment, at)
