"""Step 7: the policies that promotions name by digest, and what the gate's recorded answer says about them.

The one rule of this product's own gate is applied again; a policy of another gate is only shown to be the one that was named.
"""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from aiinfra_core import canonical_json
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.predicates import Evaluation
from aiinfra_core.evidence.verification.log import Row
from aiinfra_core.evidence.verification.records import check_evaluation_digest
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story

RULE = "evaluation.quality >= minimum"


def check_policies(story: Story, step: Step) -> None:
    """Check the policy behind each promotion (7)."""
    named, again = set(), 0
    for manifest in story.manifests():
        with step.at(manifest.claim.place):
            _check_decision(manifest)
            if manifest.predicate.policy.digest is not None:
                named.add(manifest.predicate.policy.digest.sha256)
                again += _check_policy(story, manifest, manifest.predicate.policy.digest.sha256)
    for digest in story.files.below("policies").keys() - named:
        step.add(bundle.policy_name(digest), "No promotion here names it.")
    step.found = f"each policy is here as named ({len(named)}); the rule was applied again (promotions: {again})"
    if not named:
        step.does_not_apply("no promotion here names its policy by digest")


def _check_decision(manifest: Manifest) -> None:
    row: Row = manifest.applied.row("model_promotions") if manifest.applied else {}
    if not isinstance(row.get("decision"), str):
        return  # over 4 KB a row holds it by digest; the manifest is what was signed after it
    decision = canonical_json.loads(row["decision"], what="The decision")
    policy, named = manifest.predicate.policy, decision.get("policyDigest")
    if decision.get("allowed") is not True:
        raise EvidenceBroken("policy", "the gate's recorded answer is not a yes.")
    if policy.uri != f"urn:ai-infra:policy:{decision.get('source')}:{quote(str(decision.get('policyId') or 'unnamed'), safe='')}":
        raise EvidenceBroken("policy", "the gate's recorded answer is by another policy than the manifest names.")
    if named != (policy.digest.sha256 if policy.digest else None):
        raise EvidenceBroken("policy", "the gate's recorded answer has another policy digest than the manifest.")


def _check_policy(story: Story, manifest: Manifest, digest: str) -> bool:
    """Check one policy and return whether its rule could be applied again."""
    name = bundle.policy_name(digest)
    data = story.files.files.get(name)
    if data is None or sha256(data).hexdigest() != digest:
        raise EvidenceBroken("policy", f"{name} is missing or has another digest.")
    minimum = _minimum(data)
    return minimum is not None and _applies_again(story, manifest, minimum)


def _minimum(data: bytes) -> Decimal | None:
    try:
        policy = canonical_json.loads(data, what="The policy")
        return Decimal(policy["minimum"]) if policy["rule"] == RULE else None
    except (AttributeError, InvalidOperation, KeyError, TypeError, ValueError):
        return None


def _applies_again(story: Story, manifest: Manifest, minimum: Decimal) -> bool:
    row: Row = manifest.applied.row("model_promotions") if manifest.applied else {}
    metrics = row.get("evaluation")
    if not isinstance(metrics, str):
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
