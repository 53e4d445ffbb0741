"""Who trained, registered, evaluated and requested what was promoted, as statements and rows of the log name them; approvers' roles."""

from aiinfra_core.domain.promotion import Part
from aiinfra_core.evidence.confirmation_predicates import Approval, VouchedApproval
from aiinfra_core.evidence.predicates import Evaluation, Registration, Training
from aiinfra_core.evidence.verification.claims import Claim, Shape
from aiinfra_core.evidence.verification.story import Manifest, Story


def people_behind(story: Story, manifest: Manifest, part: Part) -> frozenset[str]:
    """Return who had a part in what a manifest promotes; whoever evaluated it before it got traffic is an evaluator."""
    match part:
        case Part.REQUESTER:
            return frozenset({manifest.said.requested_by})
        case Part.REGISTRAR:
            return frozenset(said.registered_by for _, said in _leaned_on(story, manifest, Registration))
        case Part.TRAINER:
            asked = [story.taken_in[digest].row("training_jobs").get("requested_by") for digest, _ in _leaned_on(story, manifest, Training)]
            return frozenset(person for person in asked if isinstance(person, str))
    last = manifest.used.seq if manifest.used else story.log.checkpoint.size
    ids = {said.artifact_id for _, said in _leaned_on(story, manifest, Registration)}
    evaluated = [(claim, said) for claim, said in story.about(manifest.claim.statement.subject, Evaluation) if said.artifact_id in ids]
    return frozenset(said.recorded_by for claim, said in evaluated if story.taken_in[claim.digest].seq < last)


def roles_of(claim: Claim, approval: Approval) -> frozenset[str]:
    """Return the roles of whoever approved: as vouched for, or those of their key in the trust root."""
    if isinstance(approval, VouchedApproval):
        return frozenset(approval.roles)
    return frozenset(role for signer in claim.signers for role in signer.roles)


def _leaned_on(story: Story, manifest: Manifest, shape: type[Shape]) -> list[tuple[str, Shape]]:
    found = ((digest, story.claims[digest].saying(shape)) for digest in manifest.inputs if digest in story.claims)
    return [(digest, said) for digest, said in found if said is not None]
