"""What a policy's rules say about some inputs, each with its reason and the values it looked at.

`judge` works in this process: for policies one trusts not to run for ever. Those that anybody could have written go through `sandbox`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from aiinfra_core.domain.actor import same_person_key
from aiinfra_core.domain.promotion import Part, Stage
from aiinfra_core.domain.record import Record
from aiinfra_core.rules import expressions
from aiinfra_core.rules.document import Policy, Rule
from aiinfra_core.rules.expressions import ERROR, MISSING, NO, NOT_FINITE, UNFIT, YES, Told, Verdict
from aiinfra_core.rules.rollout_views import is_rollback

Input = Literal[
    "artifact", "provenance", "evaluation", "evaluations", "current", "comparison", "reproduction", "scan", "drift", "approvals",
    "environments", "people", "requester", "environment", "stage", "now", "parameters", "rollout", "rollback",
    "overrides", "tries",
]  # fmt: skip
INPUTS = frozenset(get_args(Input))
"""Every name a rule may begin a path with."""
_MOST_SHOWN, _MOST_USED = 80, 400
_TEMPLATE = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_WORD = re.compile(r"[A-Za-z_]\w*")
_INDEX = re.compile(r"""\[\s*(["'])([\w-]+)\1\s*\]""")
_TEXT = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([A-Za-z_]\w*)\s*,")
_PATH = re.compile(r"(?<![\w.])([A-Za-z_]\w*)((?:\.[\w-]*\w)*)(\s*\()?")


class Outcome(Record):
    """What one rule says: only `yes` is a yes. `used` are the values it looked at, by their paths; null where there is none."""

    rule: str
    verdict: Verdict
    reason: str
    used: dict[str, Any]


def judge(policy: Policy, inputs: Mapping[str, Any], stage: Stage) -> list[Outcome]:
    """Return what each rule of a policy says about plain JSON values, in the policy's order."""
    rules = rules_of(policy, stage, inputs)
    text = written(inputs)
    if text is None:
        return outcomes(policy, rules, inputs, [(ERROR, NOT_FINITE)] * len(rules))
    return outcomes(policy, rules, inputs, expressions.judge([rule.expression for rule in rules], json.loads(text)))


def rules_of(policy: Policy, stage: Stage, inputs: Mapping[str, Any]) -> list[Rule]:
    """Return the rules that are judged on these inputs at a stage; before a promotion is applied, those of both stages."""
    about = [rule for rule in policy.rules if rule.is_about(rollback=is_rollback(inputs))]
    return [rule for rule in about if stage is Stage.APPLY or rule.stage is Stage.REQUEST]


def written(inputs: Mapping[str, Any]) -> bytes | None:
    """Return inputs as the JSON that rules see, None where they hold a number that is not finite."""
    try:
        return json.dumps(inputs, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return None


def outcomes(policy: Policy, rules: Sequence[Rule], inputs: Mapping[str, Any], told: Sequence[Told]) -> list[Outcome]:
    """Give each rule's verdict its reason, and add what the policy says about people; whoever trained a model may take it back."""
    said = [_outcome(rule, inputs, verdict, cause) for rule, (verdict, cause) in zip(rules, told, strict=True)]
    return said if is_rollback(inputs) else said + [_kept_apart(part, inputs) for part in policy.requester_is_not]


def names_used(policy: Policy) -> frozenset[str]:
    """Return the inputs a policy can look at, or more: whoever gathers these has all it needs."""
    texts = (text for rule in policy.rules for text in (rule.expression, rule.reason, rule.missing, rule.holds) if text)
    named = {word for text in texts for word in _WORD.findall(text)}
    return INPUTS & (named | {"parameters"} | ({"people"} if policy.requester_is_not else set()))


def unknown_names(rule: Rule) -> list[str]:
    """Return what a rule's texts would be filled with although there is no such input."""
    texts = (text for text in (rule.reason, rule.missing, rule.holds) if text)
    return sorted({name for text in texts for name in _TEMPLATE.findall(text) if name.partition(".")[0] not in INPUTS})


def unknown_variables(expression: str) -> list[str]:
    """Return the names in an expression that are no input and are not bound within it."""
    bound = set(_BOUND.findall(_TEXT.sub('""', expression)))
    return sorted(set(expressions.variables(expression)) - INPUTS - bound - expressions.TYPES)


def _outcome(rule: Rule, inputs: Mapping[str, Any], verdict: Verdict, cause: str) -> Outcome:
    used = {".".join(path): _kept(_at(inputs, path)) for path in paths(rule.expression)}
    if verdict == YES:
        reason = _filled(rule.holds, inputs) if rule.holds else f"Rule {rule.id} holds."
    elif verdict == NO:
        reason = _filled(rule.reason, inputs)
    elif rule.missing and (cause == MISSING or (cause == UNFIT and None in used.values())):
        reason = _filled(rule.missing, inputs)
    else:
        reason = _cannot_be_told(rule, cause, used)
    return Outcome.model_construct(rule=rule.id, verdict=verdict, reason=reason, used=used)


def _cannot_be_told(rule: Rule, cause: str, used: Mapping[str, Any]) -> str:
    values = "; ".join(f"{path} is {_shown(value)}" for path, value in used.items())
    return f"It cannot be told whether {rule.id} holds: {cause}{f' ({values})' if values else ''}."


def _kept_apart(part: Part, inputs: Mapping[str, Any]) -> Outcome:
    path = ("people", f"{part}s" if part is Part.EVALUATOR else str(part))
    asking = [one for one in (("people", "requester"), ("people", "asker")) if _is_there(inputs, one)]
    used = {".".join(one): _at(inputs, one) for one in (("people", "requester"), *asking, path)}
    verdict, reason = _whether_apart(part, [_at(inputs, one) for one in asking], _at(inputs, path), is_known=_is_there(inputs, path))
    return Outcome(rule=f"requester-is-not-{part}", verdict=verdict, reason=reason, used=used)


# Whoever asks in somebody's name asks too.
def _whether_apart(part: Part, asking: Sequence[Any], others: Any, *, is_known: bool) -> tuple[Verdict, str]:
    if not (is_known and asking and all(isinstance(one, str) and one for one in asking)):
        return ERROR, f"It cannot be told whether the requester is the {part}."
    if others is None:
        return ERROR, f"It is not known who the {part} was, so it cannot be told that somebody else asks."
    taken = set(map(same_person_key, others if isinstance(others, list) else [others]))
    if found := next((one for one in asking if same_person_key(one) in taken), None):
        return NO, f"{found} was the {part} and may not ask for this; somebody else must."
    return YES, f"The requester {asking[0]} was not the {part}."


def _is_there(inputs: Mapping[str, Any], path: tuple[str, str]) -> bool:
    within = inputs.get(path[0])
    return isinstance(within, Mapping) and path[1] in within


@lru_cache(maxsize=2000)
def paths(expression: str) -> tuple[tuple[str, ...], ...]:
    """Return the paths into the inputs that an expression spells out, each once, in its order."""
    return tuple(dict.fromkeys(_paths(_TEXT.sub('""', _INDEX.sub(r".\2", expression)))))


def _paths(text: str) -> Iterator[tuple[str, ...]]:
    for name, more, called in _PATH.findall(text):
        path = (name, *more.split(".")[1:])
        path = path[:-1] if called else path
        if path and name in INPUTS:
            yield path


def _at(inputs: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = inputs
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _filled(text: str, inputs: Mapping[str, Any]) -> str:
    return _TEMPLATE.sub(lambda found: _shown(_at(inputs, found[1].split("."))), text)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value) if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


# The values are kept with each decision: long ones stand in the inputs, which are kept too.
def _kept(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MOST_USED]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, (list, Mapping)) and len(json.dumps(value)) > _MOST_USED:
        return f"{len(value)} entries"
    return value
