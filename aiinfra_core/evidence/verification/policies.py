"""Step 7: the policies that promotions name by digest, what the gates' recorded answers say about them, and their rules judged again.

The rules of this product's own gate are judged on the inputs that were recorded with its answer, which have to agree with what else is
proven here (`recorded_inputs`); a policy of another gate is only shown to be the one that was named.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from aiinfra_core import canonical_json
from aiinfra_core.domain.promotion import Stage
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.predicates import Evaluation
from aiinfra_core.evidence.verification import recorded_inputs
from aiinfra_core.evidence.verification.log import Entry, Row
from aiinfra_core.evidence.verification.records import Registered, check_evaluation_digest
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story
from aiinfra_core.rules.document import DIGESTED_WITH, Policy
from aiinfra_core.rules.judging import Outcome

RULE = "evaluation.quality >= minimum"
LOCAL = "local"
SECONDS, SECONDS_TOGETHER = 5.0, 60.0
"""How long the rules of one promotion may take at a stage, and those of all promotions of an export."""


@dataclass
class _Judging:
    """Rules that anybody could have written are judged in a process of their own, as long as there are seconds left for them."""

    left: float

    def judge(self, policy: Policy, inputs: Mapping[str, Any], stage: Stage) -> list[Outcome]:
        """Return what each rule says.

        Raises:
            EvidenceBroken: at `policy`; those that were judged before took all the time there is.
            Unavailable: no such process could be started.
        """
        from aiinfra_core.rules import sandbox  # needs a POSIX system: only where there is something to judge

        if self.left <= 0:
            raise EvidenceBroken(
                "policy", f"judging the policies here again took over {SECONDS_TOGETHER:g} s before it was this one's turn."
            )
        begun = time.monotonic()
        try:
            return sandbox.judge(policy, inputs, stage, min(SECONDS, self.left))
        finally:
            self.left -= time.monotonic() - begun


def check_policies(story: Story, registered: Mapping[str, Registered], step: Step) -> None:
    """Check the policy behind each promotion (7)."""
    named, again, judging = set[str](), 0, _Judging(SECONDS_TOGETHER)
    for manifest in story.manifests():
        with step.at(manifest.claim.place):
            named |= {policy.sha256} if (policy := manifest.predicate.policy.digest) else set()
            named |= {str(_decision(story, entry).get("policyDigest")) for entry in story.answers(manifest.said.promotion_id)}
            _check_decision(story, manifest)
            _check_answers(story, manifest)
            again += policy is not None and _check_policy(story, manifest, policy.sha256, registered, judging)
    for digest in story.files.below("policies").keys() - named:
        step.add(bundle.policy_name(digest), "No promotion here names it.")
    step.found = f"each policy is here as named ({len(named)}); its rules were judged again (promotions: {again})"
    if not named:
        step.does_not_apply("no promotion here names its policy by digest")


def document(story: Story, manifest: Manifest) -> Policy | None:
    """Return the policy a manifest names by digest; None where it names none, or another gate's.

    Raises:
        EvidenceBroken: at `policy`; it is missing, or is no policy.
    """
    policy = manifest.predicate.policy.digest
    return None if policy is None else _read(story, policy.sha256)


def _read(story: Story, digest: str) -> Policy | None:
    read = canonical_json.loads(_bytes(story, digest), what="The policy")
    if not isinstance(read, dict) or read.get("format") != DIGESTED_WITH:
        return None
    try:
        policy = Policy.model_validate(read)
    except ValueError:
        raise EvidenceBroken("policy", f"{bundle.policy_name(digest)} is none that this version can judge by.") from None
    if policy.digest() != digest:
        raise EvidenceBroken("policy", f"{bundle.policy_name(digest)} is not written as policies are.")
    return policy


def _bytes(story: Story, digest: str) -> bytes:
    name = bundle.policy_name(digest)
    data = story.files.files.get(name)
    if data is None or sha256(data).hexdigest() != digest:
        raise EvidenceBroken("policy", f"{name} is missing or has another digest.")
    return data


def _check_decision(story: Story, manifest: Manifest) -> None:
    row: Row = manifest.applied.row("model_promotions") if manifest.applied else {}
    told = story.value(row.get("decision"))
    if told is None:
        return  # earlier versions exported none over 4 KB; the manifest is what was signed after it
    decision = canonical_json.loads(told, what="The decision")
    policy, named = manifest.predicate.policy, decision.get("policyDigest")
    if decision.get("allowed") is not True:
        raise EvidenceBroken("policy", "the gate's recorded answer is not a yes.")
    if policy.uri != f"urn:ai-infra:policy:{decision.get('source')}:{quote(str(decision.get('policyId') or 'unnamed'), safe='')}":
        raise EvidenceBroken("policy", "the gate's recorded answer is by another policy than the manifest names.")
    if named != (policy.digest.sha256 if policy.digest else None):
        raise EvidenceBroken("policy", "the gate's recorded answer has another policy digest than the manifest.")


def _check_answers(story: Story, manifest: Manifest) -> None:
    """Check that no gate said no, whichever the manifest names."""
    for entry in story.answers(manifest.said.promotion_id):
        if entry.row("policy_decisions").get("allowed") is not True:
            raise EvidenceBroken("policy", f"{entry.place} holds a no to it.")


def _check_policy(story: Story, manifest: Manifest, digest: str, registered: Mapping[str, Registered], judging: _Judging) -> bool:
    """Check one policy and return whether its rules could be judged again."""
    policy = _read(story, digest)
    if policy is None:
        minimum = _minimum(_bytes(story, digest))
        return minimum is not None and _applies_again(story, manifest, minimum)
    _judge_again(story, manifest, registered, judging, Stage.REQUEST, digest)
    # Whoever waited was judged again then, by what the policy was by then; rules for that moment are judged for no other.
    if story.waited(manifest) or policy.is_judged_at_the_end(rollback=manifest.said.replaces is not None):
        _judge_again(story, manifest, registered, judging, Stage.APPLY)
    return True


def _judge_again(
    story: Story, manifest: Manifest, registered: Mapping[str, Registered], judging: _Judging, stage: Stage, digest: str | None = None
) -> None:
    entry, inputs = _asked(story, manifest, stage)
    by = str(_decision(story, entry).get("policyDigest"))
    policy = _read(story, by)
    if policy is None or by != (digest or by):
        raise EvidenceBroken("policy", f"{entry.place} holds an answer by another policy than the manifest names.")
    if inputs.get("stage") != stage.value or inputs.get("parameters", policy.parameters) != policy.parameters:
        raise EvidenceBroken("policy", f"{entry.place} holds inputs of another stage, or other parameters than the policy's.")
    recorded_inputs.check(story, manifest, registered, entry, inputs)
    for outcome in judging.judge(policy, inputs, stage):
        if outcome.verdict != "yes":
            raise EvidenceBroken("policy", f"judged again its rule {outcome.rule} is not a yes: {outcome.reason}")


def _asked(story: Story, manifest: Manifest, stage: Stage) -> tuple[Entry, dict[str, Any]]:
    """Return the entry with this product's own answer at a stage, and what its rules saw."""
    for entry in story.answers(manifest.said.promotion_id):
        row = entry.row("policy_decisions")
        if (row.get("gate"), row.get("stage")) == (LOCAL, stage.value):
            inputs = canonical_json.loads(story.value(row.get("inputs")) or "null", what="The inputs")
            if not isinstance(inputs, dict):
                raise EvidenceBroken("policy", f"what the rules saw in {entry.place} is missing.")
            signed = story.taken_in[manifest.claim.digest].seq
            if manifest.used is None or not (signed if stage is Stage.APPLY else 0) < entry.seq < manifest.used.seq:
                raise EvidenceBroken("policy", f"{entry.place} came before its manifest was signed, or after it got traffic.")
            return entry, inputs
    raise EvidenceBroken("policy", f"no entry here holds what its rules saw when it was judged ({stage}).")


def _decision(story: Story, entry: Entry) -> dict[str, Any]:
    read = canonical_json.loads(story.value(entry.row("policy_decisions").get("decision")) or "{}", what="The decision")
    return read if isinstance(read, dict) else {}


def _minimum(data: bytes) -> Decimal | None:
    try:
        policy = canonical_json.loads(data, what="The policy")
        return Decimal(policy["minimum"]) if policy["rule"] == RULE else None
    except (AttributeError, InvalidOperation, KeyError, TypeError, ValueError):
        return None


def _applies_again(story: Story, manifest: Manifest, minimum: Decimal) -> bool:
    row: Row = manifest.applied.row("model_promotions") if manifest.applied else {}
    metrics = story.value(row.get("evaluation"))
    if metrics is None:
        return False
    _check_evaluated(story, manifest, canonical_json.loads(metrics, what="The evaluation"), row)
    quality = canonical_json.loads(metrics, what="The evaluation").get("quality")
    is_number = isinstance(quality, (int, float)) and not isinstance(quality, bool) and math.isfinite(quality)
    if not is_number or Decimal(str(quality)) < minimum:
        raise EvidenceBroken("policy", f"the policy asks for a quality of at least {minimum}, and {str(quality)[:40]!r} was recorded.")
    return True


def _check_evaluated(story: Story, manifest: Manifest, metrics: Mapping[str, Any], row: Row) -> None:
    claims = [story.claims[digest] for digest in manifest.inputs if digest in story.claims]
    evaluations = [(claim, said) for claim in claims if (said := claim.saying(Evaluation)) is not None]
    if len(evaluations) != 1 or evaluations[0][1].evaluation_digest != row.get("evaluation_digest"):
        raise EvidenceBroken("policy", "it does not lean on the evaluation it was judged on.")
    check_evaluation_digest(evaluations[0][0].statement.subject.checksum, evaluations[0][1], metrics)
