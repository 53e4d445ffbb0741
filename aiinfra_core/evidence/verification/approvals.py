"""Step 5: as many distinct owners of each role behind a promotion as the trust root asks for. A manifest's own list proves nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.predicates import Approval
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story


def check_approvals(story: Story, step: Step) -> None:
    """Check that enough owners agreed to each promotion (5)."""
    asked = [(manifest, story.trust.thresholds.get(manifest.said.environment, {})) for manifest in story.manifests()]
    for manifest, threshold in asked:
        if threshold:
            with step.at(manifest.claim.place):
                _check_threshold(story, manifest, threshold)
    count = sum(1 for _, threshold in asked if threshold)
    step.found = f"{count} promotions have the approvals their environment asks for"
    if not count:
        step.does_not_apply("no promotion here needs approvals under this trust root")


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


def _check_threshold(story: Story, manifest: Manifest, threshold: Mapping[str, int]) -> None:
    if manifest.applied is None:
        raise EvidenceBroken("approvals", "no entry here applied it, so nothing tells which approvals were there then.")
    roles: dict[str, frozenset[str]] = {}
    reasons = []
    for claim, approval in story.saying(Approval):
        if approval.manifest == manifest.claim.digest:
            problem = next(_objections(story, manifest, claim, approval), None)
            if problem:
                reasons.append(f"that of {approval.approver[:64]} {problem}")
                continue
            for signer in claim.signers:
                roles[signer.owner] = roles.get(signer.owner, frozenset()) | frozenset(signer.roles)
    missing = missing_roles(roles, threshold)
    if missing:
        not_counted = f"; {'; '.join(reasons)}" if reasons else ""
        raise EvidenceBroken("approvals", f"it lacks an approval as {', '.join(missing)}; {len(roles)} owners approved{not_counted}.")


def _objections(story: Story, manifest: Manifest, claim: Claim, approval: Approval) -> Iterator[str]:
    said, taken = manifest.said, story.taken_in[claim.digest]
    if claim.statement.subject != manifest.claim.statement.subject:
        yield "is about other bytes"
    if (approval.promotion_id, approval.model, approval.environment) != (said.promotion_id, manifest.model, said.environment):
        yield "is about another promotion"
    if any(signer.owner != approval.approver for signer in claim.signers):
        yield "is signed by another"
    if said.requested_by in {approval.approver, *(signer.owner for signer in claim.signers)}:
        yield "is by whoever asked for the promotion"
    applied = manifest.applied
    if applied is None or taken.seq >= applied.seq:
        yield "came after the promotion was applied"
    elif not datetime.fromisoformat(approval.approved_at) <= applied.created_at < datetime.fromisoformat(approval.expires_at):
        yield "was not valid when the promotion was applied"
