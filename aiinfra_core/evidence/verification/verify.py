"""Run every step over an export directory and tell what came of it. The steps are in this package's docstring."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle, trust_root, tuf_metadata
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.evidence.trust_root import TrustRoot
from aiinfra_core.evidence.verification import approvals, claims, directory, kept, log, policies, records, rollouts, sequence
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.log import Log
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.report import REQUIRED, STEPS, Outcome, Step
from aiinfra_core.evidence.verification.story import Story


@dataclass(frozen=True)
class Question:
    """What the auditor brings: one pinned root, the time now, and, where there are any, what was seen before.

    `trust` is a trust directory, name to bytes, that is believed instead of the one in the export: a newer one knows of keys that were
    revoked since, and has not expired.
    With `max_age` it is asked what is current now, and an export older than that is too old.
    """

    pinned: bytes
    now: datetime
    last_checkpoint: bytes | None = None
    last_targets: bytes | None = None
    max_age: timedelta | None = None
    trust: Mapping[str, bytes] | None = None


@dataclass
class Report:
    """Every step, and, as far as it verified, what the export is about."""

    steps: dict[int, Step] = field(default_factory=lambda: {number: Step(number) for number in STEPS})
    subject: Registered | None = None
    log: Log | None = None
    story: Story | None = None

    @property
    def passed(self) -> bool:
        """Whether everything that was asked is proven: no step failed, and none that always applies was left out."""
        done = all(self.steps[number].outcome is Outcome.PASS for number in REQUIRED)
        return done and not any(step.failed for step in self.steps.values())

    def about(self) -> dict[str, Any] | None:
        """Return what was proven, for scripts; None where something was not."""
        if not self.passed or self.subject is None or self.log is None or self.story is None:
            return None
        exported = self.story.exported
        return {
            "artifactId": self.subject.predicate.artifact_id,
            "model": self.subject.predicate.model,
            "version": self.subject.version,
            "checksum": self.subject.subject.checksum,
            "provenance": "trained" if self.subject.predicate.training_job_id else "no provenance",
            "environment": exported.environment if exported else None,
            "sequence": exported.current.sequence if exported and exported.current else None,
            "log": {"origin": self.log.checkpoint.origin, "size": self.log.checkpoint.size, "root": self.log.checkpoint.root.hex()},
            "at": timestamp(self.log.created_at),
            "exportedAt": exported.exported_at if exported else None,
        }


def verify(files: Bundle, question: Question) -> Report:
    """Carry out every step; one that cannot be because another failed says so."""
    report = Report()
    steps = report.steps
    digests = directory.check_bytes(files, steps[6])
    directory.check_files(files, steps[13])
    parsed = claims.opened(files, steps[2])
    root = _trust(files, question, steps[1])
    if root is None:
        return _left_out(report, 1)
    signed = claims.signed(parsed, root.trust, steps[3])
    report.log = log.read_log(files, root.trust, steps[9])
    if report.log is None:
        return _left_out(report, 9, done=(3,))
    report.story = _story(files, root, signed, report.log, steps)
    log.check_consistency(files, report.log.checkpoint, question.last_checkpoint, root.trust, steps[10])
    registered = records.check_inputs(report.story, steps[8])
    kept.check_kept(report.story, steps[8])
    report.subject = directory.check_subject(report.story, digests, registered, steps[6])
    directory.check_statement(report.story, report.subject, steps[13])
    approvals.check_approvals(report.story, steps[5])
    policies.check_policies(report.story, registered, steps[7])
    sequence.check_sequence(report.story, registered, steps[11])
    sequence.check_current(report.story, question.now, question.max_age, steps[12])
    rollouts.check_rollouts(report.story, registered, steps[14])
    return report


def _trust(files: Bundle, question: Question, step: Step) -> TrustRoot | None:
    """Follow the pinned root to the trust (1)."""
    with step.at(bundle.TRUST):
        given = files.below(bundle.TRUST) if question.trust is None else question.trust
        seen = question.last_targets
        least = trust_root.targets_version(seen) if seen is not None else 0
        root = trust_root.open_trust_root(question.pinned, given, now=question.now, least_targets_version=least)
        if seen is not None and root.targets_version == least:
            _check_same_targets(given[tuf_metadata.TARGETS], seen)
        step.found = (
            f"root {root.root_version} and targets {root.targets_version} are signed as the pinned root asks, until {root.expires.date()}"
        )
        return root
    return None


def _check_same_targets(given: bytes, seen: bytes) -> None:
    if tuf_metadata.parse_targets(given).signed_bytes != tuf_metadata.parse_targets(seen).signed_bytes:
        raise EvidenceBroken("trust version", f"{tuf_metadata.TARGETS} is another one than was seen under the same version.")


def _story(files: Bundle, root: TrustRoot, signed: list[Claim], known: Log, steps: dict[int, Step]) -> Story:
    taken = log.taken_in(signed, known, steps[9])
    moments = {digest: (entry.created_at, entry.index) for digest, entry in taken.items()}
    good = claims.permitted(signed, moments, steps[4])
    attested = {claim.digest: claim for claim in good if claim.place != bundle.STATEMENT}
    export = next((claim for claim in good if claim.place == bundle.STATEMENT), None)
    return Story(root.trust, known, attested, taken, export, files)


def _left_out(report: Report, failed: int, done: Iterable[int] = ()) -> Report:
    for number, step in report.steps.items():
        if number not in {1, 2, failed, *done} and not step.failed:
            step.does_not_apply(f"step {failed} failed")
    return report
