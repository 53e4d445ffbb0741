"""The cases that stand in a policy file: what it has to say about inputs that are told in advance."""

from dataclasses import dataclass

from aiinfra_core.domain.promotion import Decision, Stage
from aiinfra_core.policy import local, policy_file, sample
from aiinfra_core.policy.policy_file import Case, PolicyFile
from aiinfra_core.settings import Settings


@dataclass(frozen=True)
class Tried:
    """A case and what the policy said about it; `wrong` says how that is not what was expected, None where it is."""

    case: Case
    decision: Decision
    wrong: str | None


def tried(settings: Settings, file: PolicyFile, source: bytes) -> list[Tried]:
    """Try every case of a policy file, each with the policy that counts for its environment and model."""
    return [_tried(settings, file, source, case) for case in file.tests]


def _tried(settings: Settings, file: PolicyFile, source: bytes, case: Case) -> Tried:
    inputs = sample.merged(sample.merged(sample.inputs(), file.sample), case.inputs)
    known = {"AI_INFRA_MIN_PROMO_SCORE": settings.min_promo_score}
    model = inputs["artifact"]["model"] if isinstance(inputs["artifact"], dict) else ""
    policy = policy_file.effective(file, source, str(inputs["environment"]), str(model), known)
    parameters = sample.merged(policy.parameters, inputs["parameters"])
    policy = policy.model_copy(update={"parameters": parameters})
    seen = inputs | {"parameters": parameters, "stage": case.stage}
    decision = local.decide(policy, seen, Stage(case.stage), settings.policy_seconds)
    return Tried(case, decision, _wrong(case, decision))


def _wrong(case: Case, decision: Decision) -> str | None:
    said = "yes" if decision.allowed else "no"
    if said != case.expect:
        return f"it is a {said}: {decision.reason}"
    if case.rule is not None and decision.rule_id != case.rule:
        return f"the rule that says so is {decision.rule_id or 'none'}: {decision.reason}"
    return None
