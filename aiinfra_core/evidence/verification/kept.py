"""Step 8, later statements about an artifact or a promotion: reproductions, scans, approvals and withdrawals against the log's rows."""

from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.confirmation_predicates import Approval, Reproduction, Scan, Withdrawal
from aiinfra_core.evidence.kept_rows import differences
from aiinfra_core.evidence.predicates import Predicate, Training
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.records import same_subject, told_by
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Story

# Shape -> the event that takes it in, and the table of its row there.
_TOLD: dict[type[Predicate], tuple[str, str]] = {
    Reproduction: ("reproduction.checked", "reproductions"),
    Scan: ("artifact.scanned", "artifact_scans"),
    Approval: ("approval.given", "approvals"),
    Withdrawal: ("approval.withdrawn", "approval_withdrawals"),
}


def check_kept(story: Story, step: Step) -> None:
    """Check every reproduction, scan, approval and withdrawal against the row that the log holds of it (8)."""
    _check_values(story, step)
    for shape, (event_type, table) in _TOLD.items():
        for claim, predicate in story.saying(shape):
            with step.at(claim.place):
                _check_row(story, claim, predicate, event_type, table)
    for claim, reproduction in story.saying(Reproduction):
        with step.at(claim.place):
            _check_reproduction(story, claim, reproduction)


def _check_values(story: Story, step: Step) -> None:
    """Check that every long value here is one that a row of the log holds by its digest."""
    rows = [row for entry in story.log.entries.values() for row in entry.rows.values()]
    held = {str(told["sha256"]): told for row in rows for told in row.values() if isinstance(told, dict) and "sha256" in told}
    for digest in story.files.below("values"):
        with step.at(bundle.value_name(digest)):
            if digest not in held:
                raise EvidenceBroken("log row", "no row of the log here holds it.")
            story.value(held[digest])


def _check_row(story: Story, claim: Claim, predicate: Predicate, event_type: str, table: str) -> None:
    entry = told_by(story, claim, event_type)
    row = entry.row(table)
    different = differences(row, predicate) + (["attestation"] if row.get("attestation") != claim.digest else [])
    if different:
        raise EvidenceBroken("log row", f"{', '.join(different)} in {entry.place} is not what was signed.")


def _check_reproduction(story: Story, claim: Claim, said: Reproduction) -> None:
    training, _ = story.claim(said.training_attestation, Training)
    same_subject(training, claim.statement.subject)
    if (said.reproduced_checksum == claim.statement.subject.checksum) != (said.outcome == "identical"):
        raise EvidenceBroken("inputs", f"it says {said.outcome}, and the checksums say otherwise.")
