"""Step 5: as many distinct owners of each role behind a promotion as its manifest, its policy or the trust root asks for.

Whichever of the three asks for more counts. A manifest's own list of approvers proves nothing. What counts, counts when it is used: as the
promotion is applied, or as its rollout begins where it has to earn its traffic; what expires or is asked for later says nothing about it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from aiinfra_core.domain.actor import same_person_key
from aiinfra_core.domain.approval import UNPROVEN
from aiinfra_core.domain.promotion import Part
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import trust
from aiinfra_core.evidence.confirmation_predicates import Approval, VouchedApproval
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.people import people_behind, roles_of
from aiinfra_core.evidence.verification.policies import document
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story


def check_approvals(story: Story, step: Step) -> None:
    """Check that enough owners agreed to each promotion (5)."""
    count = 0
    for manifest in story.manifests():
        with step.at(manifest.claim.place):
            needed = _needed(story, manifest)
            count += bool(needed)
            if needed:
                _check_agreed(story, manifest, needed)
    step.found = f"{count} promotions have the approvals that were asked for"
    if not count:
        step.does_not_apply("no promotion here needs approvals under this trust root, its policy or its manifest")


def most(*asked: Mapping[str, int]) -> dict[str, int]:
    """Return role -> how many owners it needs where several ask: of each the most."""
    return {role: max(one.get(role, 0) for one in asked) for role in sorted({role for one in asked for role in one})}


def missing_roles(owners: Mapping[str, frozenset[str]], threshold: Mapping[str, int]) -> list[str]:
    """Return the roles left unfilled when each owner fills at most one place, as many places as can be; exact (augmenting paths).

    Args:
        owners: owner -> the roles that owner has.
        threshold: role -> how many owners it needs.
    """
    places = [role for role, needed in sorted(threshold.items()) for _ in range(needed)]
    filled: dict[int, str] = {}
    return [places[place] for place in range(len(places)) if not _fill(place, places, owners, filled, set())]


def _fill(place: int, places: Sequence[str], owners: Mapping[str, frozenset[str]], filled: dict[int, str], tried: set[str]) -> bool:
    for owner, roles in owners.items():
        if places[place] not in roles or owner in tried:
            continue
        tried.add(owner)
        held = next((one for one, by in filled.items() if by == owner), None)
        if held is None or _fill(held, places, owners, filled, tried):
            filled[place] = owner
            return True
    return False


def _needed(story: Story, manifest: Manifest) -> dict[str, int]:
    policy, used = document(story, manifest), manifest.used
    return most(
        manifest.said.approvals_required or {},
        policy.asks_for(rollback=manifest.said.replaces is not None).approvals if policy else {},
        trust.threshold(story.trust, manifest.said.environment, used.created_at if used else story.log.created_at),
    )


def _check_agreed(story: Story, manifest: Manifest, needed: Mapping[str, int]) -> None:
    if manifest.applied is None:
        raise EvidenceBroken("approvals", "no entry here applied it, so nothing tells which approvals were there then.")
    barred = _barred(story, manifest)
    roles: dict[str, frozenset[str]] = {}
    reasons = []
    for claim, approval in story.agreeing(manifest.claim.digest):
        problem = next(_objections(story, manifest, claim, approval, barred), None)
        if problem:
            reasons.append(f"that of {approval.approver[:64]} {problem}")
            continue
        owner = same_person_key(approval.approver)
        roles[owner] = roles.get(owner, frozenset()) | roles_of(claim, approval)
    missing = missing_roles(roles, needed)
    if missing:
        not_counted = f"; {'; '.join(reasons)}" if reasons else ""
        raise EvidenceBroken("approvals", f"it lacks an approval as {', '.join(missing)}; {len(roles)} owners approved{not_counted}.")


def _barred(story: Story, manifest: Manifest) -> dict[str, Part]:
    """Return whose approval the policy does not count, by their folded names, and who they were in the way of the model."""
    policy = document(story, manifest)
    parts = policy.conditions.approver_is_not if policy else ()
    return {same_person_key(person): part for part in parts for person in people_behind(story, manifest, part)}


def _objections(story: Story, manifest: Manifest, claim: Claim, approval: Approval, barred: Mapping[str, Part]) -> Iterator[str]:
    said, approver = manifest.said, same_person_key(approval.approver)
    if claim.statement.subject != manifest.claim.statement.subject:
        yield "is about other bytes"
    if (approval.promotion_id, approval.model, approval.environment) != (said.promotion_id, manifest.model, said.environment):
        yield "is about another promotion"
    if not isinstance(approval, VouchedApproval) and any(signer.owner != approval.approver for signer in claim.signers):
        yield "is signed by another"
    if isinstance(approval, VouchedApproval) and approval.issuer in UNPROVEN:
        yield f"is in a name that nobody had to prove ({approval.issuer})"
    if approver in _who_asked(manifest):
        yield "is by whoever asked for the promotion"
    if approver in barred:
        yield f"is by the {barred[approver]}, who must not approve"
    yield from _untimely(story, manifest, claim, approval)


def _who_asked(manifest: Manifest) -> set[str]:
    """Return the folded names of the requester and, as the log tells, of who asked in their name."""
    asked_by = manifest.applied.row("model_promotions").get("asked_by") if manifest.applied else None
    return {same_person_key(name) for name in (manifest.said.requested_by, asked_by) if isinstance(name, str)}


def _untimely(story: Story, manifest: Manifest, claim: Claim, approval: Approval) -> Iterator[str]:
    used, then = manifest.used, "its rollout began" if manifest.began else "the promotion was applied"
    if used is None or story.taken_in[claim.digest].seq >= used.seq:
        yield f"came after {then}"
    elif not datetime.fromisoformat(approval.approved_at) <= used.created_at < datetime.fromisoformat(approval.expires_at):
        yield f"was not valid when {then}"
    elif any(story.taken_in[one.digest].seq < used.seq for one in story.withdrawing(claim.digest)):
        yield f"was withdrawn before {then}"
