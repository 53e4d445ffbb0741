"""Step 7: what a policy's rules saw, as the log recorded it, against everything else that is proven here.

What an export cannot show (`environments` beside its own, `drift`) stands as the log recorded it when the rules were judged. What they saw
of rollouts is compared in `recorded_rollouts`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import EvaluationKind
from aiinfra_core.domain.evaluation import source_of
from aiinfra_core.domain.promotion import Part
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.confirmation_predicates import Reproduction, Scan, VouchedApproval
from aiinfra_core.evidence.kept_rows import text_digest
from aiinfra_core.evidence.predicates import Evaluation, Training
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.evidence.verification import recorded_rollouts
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.log import Entry
from aiinfra_core.evidence.verification.people import people_behind, roles_of
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.story import Manifest, Story
from aiinfra_core.rules import rollout_views

Inputs = Mapping[str, Any]
_Later = TypeVar("_Later", Evaluation, Reproduction, Scan)
# What came while the rules were being judged need not have been seen by them.
_SETTLED = timedelta(minutes=1)
# The log takes an answer in at once, or as soon as its signer is back; an answer of long before that is not believed.
_LOGGED_WITHIN = timedelta(days=1)
_MOST_EVALUATIONS = 50  # so many, the newest, are shown to the rules


def check(story: Story, manifest: Manifest, registered: Mapping[str, Registered], entry: Entry, inputs: Inputs) -> None:
    """Check what the rules saw of a promotion when the answer in this entry was given.

    Raises:
        EvidenceBroken: at `policy`, naming the input that is not what was proven.
    """
    it = _Proven(story, manifest, registered, entry)
    checks: Mapping[str, Callable[[Any], bool]] = {
        "artifact": it.is_artifact,
        "environment": lambda said: said == manifest.said.environment,
        "requester": lambda said: said == manifest.said.requested_by,
        "now": lambda said: entry.created_at - _LOGGED_WITHIN <= datetime.fromisoformat(said) <= entry.created_at,
        "provenance": it.is_provenance,
        "evaluation": it.is_judged,
        "evaluations": it.are_evaluations,
        "current": it.is_current,
        "comparison": it.is_comparison,
        "reproduction": it.is_reproduction,
        "scan": it.is_scan,
        "approvals": lambda said: all(map(it.has_approval, said)),
        "people": it.are_people,
        "rollout": lambda said: recorded_rollouts.is_rollout(story, manifest, said),
        "overrides": lambda said: recorded_rollouts.is_overridden(story, manifest, said),
        "tries": lambda said: recorded_rollouts.are_tries(story, manifest, registered, entry, said),
        "rollback": it.is_rollback,
    }
    inputs = {"rollout": None, "rollback": None} | dict(inputs)  # recorded before there were any: it must have been neither
    for name in ("artifact", "environment", "requester", "evaluation"):
        if name not in inputs:
            raise EvidenceBroken("policy", f"what the rules saw in {entry.place} has no {name}.")
    for name, is_proven in checks.items():
        if name in inputs and not is_proven(inputs[name]):
            raise EvidenceBroken("policy", f"the {name} that the rules saw in {entry.place} is not what is proven here.")


class _Proven:
    """What is proven about one promotion, asked about each input; an entry may only have seen what was there before it."""

    def __init__(self, story: Story, manifest: Manifest, registered: Mapping[str, Registered], entry: Entry) -> None:
        self.story, self.manifest, self.entry = story, manifest, entry
        self.registered = registered
        self.registration = next(registered[digest] for digest in manifest.inputs if digest in registered)
        self.subject = manifest.claim.statement.subject
        self.artifact_id = self.registration.predicate.artifact_id

    def is_artifact(self, said: Inputs) -> bool:
        one, row = self.registration, self.story.taken_in[self.registration.claim.digest].row("model_artifacts")
        return _digest(said["metadata"]) == one.predicate.metadata_digest and {**said, "metadata": None} == {
            "id": one.predicate.artifact_id,
            "model": one.predicate.model,
            "version": one.version,
            "digest": self.subject.checksum,
            "digestKind": self.subject.digest_kind.value,
            "sizeBytes": row.get("size_bytes"),
            "registeredBy": one.predicate.registered_by,
            "registeredAt": one.predicate.registered_at,
            "metadata": None,
        }

    def is_provenance(self, said: Inputs | None) -> bool:
        digest = self.registration.predicate.training_attestation
        if said is None or digest is None:
            return said is None and digest is None
        _, training = self.story.claim(digest, Training)
        row, asked = self.story.taken_in[digest].row("training_jobs"), training.build_definition.external_parameters
        return (
            said["kind"] == ("trained" if training.run_details.builder.declared_by is None else "declared")
            and (said["codeRef"], said["commit"]) == (asked.code_ref, asked.code_ref.rpartition("@")[2])
            and (said["entryPoint"], said["containerDigest"]) == (asked.entry_point, asked.container_digest)
            and (str(said["seed"]), said["trainedBy"]) == (asked.seed, row.get("requested_by"))
            and _digest(said["hyperparams"]) == asked.hyperparams_digest.sha256
            and _digest(said["metrics"]) == (text_digest(row.get("metrics")) or _digest({}))
            and _datasets(said["datasets"]) == _datasets(canonical_json.loads(self.story.value(row.get("dataset_refs")) or "[]"))
        )

    def is_judged(self, said: Inputs | None) -> bool:
        judged = [(claim, one) for claim, one in self.story.about(self.subject, Evaluation) if claim.digest in self.manifest.inputs]
        if said is None:
            return not judged
        return len(judged) == 1 and self._is_like(*judged[0], said, judged=True)

    def are_evaluations(self, said: Sequence[Inputs]) -> bool:
        """Say whether each of these is a signed evaluation of what is promoted, and none that was settled is left out."""
        known = self._about(Evaluation)
        all_signed = all(any(self._is_like(claim, one, it) for claim, one in known) for it in said)
        digests = {_evaluation_digest(self.subject, one, it) for it in said for _, one in known[:1]}
        return all_signed and {one.evaluation_digest for one in self._settled_evaluations()} <= digests

    def is_current(self, said: Inputs | None) -> bool:
        before = self._before()
        if said is None or before is None:
            return said is None and before is None
        one = self._registered_of(before)
        applied = before.applied.row("environment_pointers").get("updated_at") if before.applied else None
        return said == {
            "artifactId": one.predicate.artifact_id,
            "version": one.version,
            "digest": before.claim.statement.subject.checksum,
            "sequence": before.said.sequence,
            "promotedAt": applied,
        }

    def is_comparison(self, said: Inputs | None) -> bool:
        before = self._before()
        if said is None or before is None:
            return said is None and (before is None or not self._settled_specs(self.manifest) & self._settled_specs(before))
        own = self._is_measured(self.manifest, said, said["challenger"])
        theirs = self._is_measured(before, said, said["champion"])
        shared = said["challenger"].keys() & said["champion"].keys()
        difference = {name: said["challenger"][name] - said["champion"][name] for name in shared}
        return own and theirs and difference == said["difference"]

    def is_reproduction(self, said: Inputs | None) -> bool:
        told = said and (said["outcome"], said["reproducedBy"], said["finishedAt"])
        return self._is_newest(told, Reproduction, lambda _, one: (one.outcome, one.reproduced_by, one.finished_on))

    def is_scan(self, said: Inputs | None) -> bool:
        told = said and (said["verdict"], said["scanner"], said["formats"])
        return self._is_newest(told, Scan, lambda claim, one: (one.verdict, one.scanner, self._formats(claim)))

    def _formats(self, claim: Claim) -> list[str]:
        return sorted({finding["format"] for finding in self._row_of(claim, "artifact_scans", "findings")})

    def is_rollback(self, said: Inputs | None) -> bool:
        before, replaces = self._before(), self.manifest.said.replaces
        if said is None or replaces is None or before is None:
            return said is None and replaces is None
        told = canonical_json.loads(self.story.value(self._promotion_row().get("rollback")) or "{}")
        shown = rollout_views.rollback(told.get("reason"), self._registered_of(before).version, self.registration.version)
        return said == shown and (before.said.promotion_id, told.get("replaces")) == (replaces, replaces)

    def has_approval(self, said: Inputs) -> bool:
        given = [(claim, one) for claim, one in self.story.agreeing(self.manifest.claim.digest) if self._is_before(claim.digest)]
        told = [(one.approver, "identity" if isinstance(one, VouchedApproval) else "key", roles_of(claim, one)) for claim, one in given]
        return (said["approver"], said["means"], frozenset(said["roles"])) in told

    def are_people(self, said: Inputs) -> bool:
        parts = {part: people_behind(self.story, self.manifest, part) for part in Part}
        return (
            {said["requester"]} == parts[Part.REQUESTER]
            and said.get("asker", said["requester"]) == self._asker()
            and {said["registrar"]} == parts[Part.REGISTRAR]
            and ({said["trainer"]} if said["trainer"] else set()) == parts[Part.TRAINER]
            and {one.recorded_by for one in self._settled_evaluations()} <= set(said["evaluators"]) <= parts[Part.EVALUATOR]
        )

    def _asker(self) -> Any:
        """Return who asked: in the requester's name, or the requester."""
        return self._promotion_row().get("asked_by") or self.manifest.said.requested_by

    def _promotion_row(self) -> Mapping[str, Any]:
        return self.manifest.applied.row("model_promotions") if self.manifest.applied else {}

    def _is_before(self, digest: str) -> bool:
        return self.story.taken_in[digest].seq < self.entry.seq

    def _is_like(self, claim: Claim, one: Evaluation, said: Inputs, *, judged: bool = False) -> bool:
        """Say whether an evaluation says this; what is judged may be signed after it was, and is as old as what asked for it then."""
        return (
            one.evaluation_digest == _evaluation_digest(self.subject, one, said)
            and said["source"] == source_of(EvaluationKind(one.kind), one.spec_digest).value
            and said["codeRef"] == self._row_of(claim, "evaluations", "spec").get("codeRef")
            and (one.datasets is None or _datasets(said["datasets"]) == sorted((ref.name, ref.sha256) for ref in one.datasets))
            and said["recordedBy"] == one.recorded_by
            and said["recordedAt"] in (self._times_of_judged(claim, one) if judged else {one.evaluated_at})
        )

    def _times_of_judged(self, claim: Claim, one: Evaluation) -> set[Any]:
        """Return when the rules may have seen that it was recorded: when the promotion was asked for, as long as it was not yet."""
        applied = self.manifest.applied
        asked_at = applied.row("model_promotions").get("created_at") if applied else None
        if not self._is_before(claim.digest):
            return {asked_at}
        return {one.evaluated_at} if self._is_settled(claim) else {one.evaluated_at, asked_at}

    def _is_measured(self, manifest: Manifest, said: Inputs, numbers: Mapping[str, float]) -> bool:
        """Say whether the spec of a comparison measured these numbers of what a manifest promotes, on that data."""
        for claim, one in self._evaluations_of(manifest):
            if one.spec_digest == said["specDigest"] and self._is_before(claim.digest):
                metrics, spec = self._row_of(claim, "evaluations", "metrics"), self._row_of(claim, "evaluations", "spec")
                same = numbers == {name: value for name, value in metrics.items() if _is_number(value)}
                if same and _datasets(said["datasets"]) == _datasets(spec.get("datasetRefs", ())):
                    return True
        return False

    def _row_of(self, claim: Claim, table: str, column: str) -> Any:
        return canonical_json.loads(self.story.value(self.story.taken_in[claim.digest].row(table).get(column)) or "{}")

    def _settled_evaluations(self) -> list[Evaluation]:
        """Return the newest evaluations of what is promoted, as far as whoever judged had to know them."""
        newest = sorted(self._about(Evaluation), key=lambda told: told[1].evaluated_at)[-_MOST_EVALUATIONS:]
        return [one for claim, one in newest if self._is_settled(claim)]

    def _settled_specs(self, manifest: Manifest) -> set[str]:
        """Return by which specs it was measured what a manifest promotes, as far as whoever judged had to know."""
        return {one.spec_digest for claim, one in self._evaluations_of(manifest) if one.spec_digest and self._is_settled(claim)}

    def _evaluations_of(self, manifest: Manifest) -> list[tuple[Claim, Evaluation]]:
        artifact_id = self._registered_of(manifest).predicate.artifact_id
        told = self.story.about(manifest.claim.statement.subject, Evaluation)
        return [(claim, one) for claim, one in told if one.artifact_id == artifact_id]

    def _is_newest(self, said: object, shape: type[_Later], read: Callable[[Claim, _Later], object]) -> bool:
        """Say whether this is what the newest statement of a shape says, or the newest but some that came at that very moment."""
        for claim, one in sorted(self._about(shape), key=lambda told: -self.story.taken_in[told[0].digest].seq):
            if read(claim, one) == said:
                return True
            if self._is_settled(claim):
                return False
        return said is None

    def _about(self, shape: type[_Later]) -> list[tuple[Claim, _Later]]:
        """Return what was said before about the very version that is promoted; the same bytes may be registered twice."""
        told = self.story.about(self.subject, shape)
        return [(claim, one) for claim, one in told if one.artifact_id == self.artifact_id and self._is_before(claim.digest)]

    def _is_settled(self, claim: Claim) -> bool:
        return self.story.taken_in[claim.digest].created_at < self.entry.created_at - _SETTLED

    def _before(self) -> Manifest | None:
        """Return the promotion this one follows."""
        return self.story.manifest(self.manifest.said.follows)

    def _registered_of(self, manifest: Manifest) -> Registered:
        return next(self.registered[digest] for digest in manifest.inputs if digest in self.registered)


def _evaluation_digest(subject: Subject, one: Evaluation, said: Inputs) -> str:
    identity = {"artifact": subject.checksum, "artifactId": one.artifact_id, "kind": said["kind"], "metrics": said["metrics"]}
    return _digest(identity | ({"specDigest": said["specDigest"]} if said["specDigest"] else {}))


def _datasets(said: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    return sorted((one["name"], one["sha256"]) for one in said)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digest(value: Any) -> str:
    return sha256_hex(canonical_json.dumps(value))
