"""This product's own gate: a policy's rules, judged in a process that can be killed. Asking over HTTP lives in `sentinelnet`."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiinfra_core.domain.promotion import Decision, Stage
from aiinfra_core.errors import Unavailable
from aiinfra_core.rules import sandbox
from aiinfra_core.rules.document import Policy
from aiinfra_core.rules.judging import Outcome
from aiinfra_core.rules.rollout_views import is_rollback

SOURCE = "local"
_MAX_REASON = 2000
_NO_RULE_ON_ROLLBACKS = "It goes back to what had been current there before, and the policy has no rule about that."


def decide(policy: Policy, inputs: Mapping[str, Any], stage: Stage, seconds: float) -> Decision:
    """Say yes if every rule of a policy is a yes about these inputs; a no names the first rule that is none and gives its reason.

    A promotion with no rule about it is refused, one that goes back is not: its artifact had been judged when it became current there.
    The answer holds what each rule said and looked at. Where no rule could be judged at all the decision is `unavailable`.
    """
    try:
        outcomes = sandbox.judge(policy, inputs, stage, seconds)
    except Unavailable as error:
        return _decision(policy, None, str(error)).model_copy(update={"unavailable": True})
    refused, goes_back = next((outcome for outcome in outcomes if outcome.verdict != "yes"), None), is_rollback(inputs)
    answer = {"rules": [{"id": one.rule, "verdict": one.verdict, "reason": one.reason, "used": one.used} for one in outcomes]}
    if refused or not (outcomes or goes_back):
        reason = refused.reason if refused else "The policy has no rule for this stage."
        return _decision(policy, refused.rule if refused else None, reason, answer)
    said = {"allowed": True, "decision": "allow", "policy_id": policy.allow_id, "conditions": policy.asks_for(rollback=goes_back)}
    return _decision(policy, None, _why(policy, outcomes) if outcomes else _NO_RULE_ON_ROLLBACKS, answer).model_copy(update=said)


def _decision(policy: Policy, rule_id: str | None, reason: str, answer: dict[str, Any] | None = None) -> Decision:
    return Decision(
        allowed=False,
        decision="deny",
        policy_id=policy.deny_id,
        policy_version=policy.version,
        policy_digest=policy.digest(),
        rule_id=rule_id,
        reason=reason[:_MAX_REASON],
        source=SOURCE,
        answer=answer,
    )


def _why(policy: Policy, outcomes: Sequence[Outcome]) -> str:
    says_why = {rule.id for rule in policy.rules if rule.holds}
    return " ".join(outcome.reason for outcome in outcomes if outcome.rule in says_why)[:_MAX_REASON] or (
        f"Every rule of the policy {policy.name} {policy.version} holds ({len(outcomes)})."
    )
