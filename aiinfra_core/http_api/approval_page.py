"""The page of a promotion for whoever has to agree to it: one HTML document that needs nothing else, no script and no network.

What is on it is read in `registry.promotion_story`; the layout is `templates/approval.html.jinja`. Nothing anybody wrote becomes markup.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from aiinfra_core.agreeing import Weighed, conditions_of
from aiinfra_core.awaiting import Awaited
from aiinfra_core.domain.approval import Means
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.evaluation import source_of
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.http_api.approval_people import kept_apart, people
from aiinfra_core.http_api.score_plot import plot
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.registry.promotion_story import Scored, Story
from aiinfra_core.rollout_shown import words

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "approval.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
"""With these a browser fetches nothing, runs nothing and sends nothing, whatever stands on the page."""

_MOST_TEXT = 2000
_MOST_SEEN = 80
_SHORT = 12
_A_METRIC = re.compile(r"evaluation\.metrics\.(\w+)|comparison\.\w+\.(\w+)")
_STATES: dict[PromotionStatus, tuple[str, str, str]] = {
    PromotionStatus.REQUESTED: ("asked for", "wait", "It is being judged."),
    PromotionStatus.PENDING_APPROVAL: ("waits for approval", "wait", ""),
    PromotionStatus.APPROVED: ("approved", "yes", "Everybody agreed who had to; it is being applied."),
    PromotionStatus.ROLLING_OUT: ("rolling out", "wait", "It earns its traffic step by step, beside what is current."),
    PromotionStatus.APPLIED: ("applied", "yes", ""),
    PromotionStatus.REJECTED: ("refused", "no", ""),
    PromotionStatus.QUARANTINED: ("quarantined", "no", ""),
    PromotionStatus.REMEDIATION: ("to be mended first", "no", ""),
    PromotionStatus.EXPIRED: ("expired", "no", ""),
    PromotionStatus.SUPERSEDED: ("superseded", "no", ""),
    PromotionStatus.ROLLED_BACK: ("rolled back", "no", ""),
}
_SOURCES = {"pipeline": "run by the pipeline", "training": "by its own training", "caller": "said by a caller"}
_GATES = {"local": "The local policy", "sentinelnet": "SentinelNet"}
Fact = Mapping[str, Any]


def page(story: Story, found: Awaited, public_url: str | None) -> str:
    """Return the page; `public_url` is where people reach the service."""
    promotion, name = story.known.promotion, story.challenger.name
    server = f" --server {public_url.rstrip('/')}" if public_url else ""
    judged = story.known.evaluation  # None also for a claim that was refused: that is not recorded
    beside = _beside(story.champion, judged)
    return _template().render(
        name=name,
        promotion=promotion,
        now=found.at,
        style=Markup(_STYLE),  # noqa: S704 - a file of ours
        state=_state(promotion, found.missing),
        roles=_roles(found),
        command=f"aiinfra approve {promotion.id} --manifest {promotion.manifest}{server}",
        approval_hours=f"{conditions_of(promotion).approval_hours:g}",
        kept_apart=kept_apart(conditions_of(promotion).approver_is_not),
        facts=list(_facts(story, found)),
        judged=_judged(promotion, judged),
        plot=plot(promotion.evaluation, beside.metrics, _named(story)) if beside else None,
        is_same_data=_is_same_spec(beside, judged),
        champion=story.champion.name if story.champion else None,
        evaluations=[*_scores(story, story.challenger, judged), *(_scores(story, story.champion, judged) if story.champion else ())],
        gates=[_gate(said, story.expressions) for said in story.decisions],
        lineage=list(_lineage(story)),
        people=people(story, found, judged),
        approvals=[_approval(one) for one in found.approvals],
        verify=f"aiinfra verify {name}{server}",
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"moment": _moment, "shortened": _shortened}
    return environment.get_template("approval.html.jinja")


def _state(promotion: Promotion, missing: Sequence[str]) -> dict[str, Any]:
    word, tone, sentence = _STATES[promotion.status]
    waits = promotion.status is PromotionStatus.PENDING_APPROVAL
    if waits and promotion.pending_until:
        whom = f"somebody to agree as {', '.join(dict.fromkeys(missing))}" if missing else "the last approval to be looked at"
        sentence = f"Until {_moment(promotion.pending_until)} it waits for {whom}."
    elif promotion.applied_at:
        sentence = f"It became current on {_moment(promotion.applied_at)}, at sequence {promotion.sequence_seen + 1}."
    return {"word": word, "tone": tone, "sentence": sentence or promotion.reason or "", "waits": waits}


def _roles(found: Awaited) -> list[dict[str, Any]]:
    return [{"name": role, "needed": needed, "missing": found.missing.count(role)} for role, needed in sorted(found.required.items())]


def _facts(story: Story, found: Awaited) -> Iterator[Fact]:
    promotion, artifact = story.known.promotion, story.known.artifact
    yield _fact("version", f"{story.challenger.name}, {artifact.size_bytes:,} bytes")
    yield _fact(f"digest ({artifact.digest_kind})", artifact.checksum, code=True)
    yield _fact("manifest", promotion.manifest or "none: nothing is signed for it", code=bool(promotion.manifest))
    if promotion.signer_id:
        yield _fact("manifest signed by", promotion.signer_id)
    replaces = f"{story.champion.name}, at sequence {promotion.sequence_seen}" if story.champion else "nothing: it is the first there"
    yield _fact("replaces", replaces)
    if promotion.rollback:
        yield _fact("goes back, because", promotion.rollback.reason)
    if promotion.rollout and not promotion.rollout.at_once:
        yield _fact("traffic", words.terms(promotion.rollout))
    if found.overridden:
        yield _fact("sent back before", words.sent_back(found.overridden))
    if found.tries:
        yield _fact("tried before", words.tried(found.tries))
    if promotion.follows:
        yield _fact("follows the manifest", promotion.follows, code=True)
    yield _fact("artifact", artifact.id, code=True)


def _judged(promotion: Promotion, judged: Evaluation | None) -> str:
    if promotion.evaluation_kind is None:
        return "It is judged without an evaluation."
    how = _SOURCES[source_of(promotion.evaluation_kind, judged.spec_digest if judged else None)]
    return f"It is judged on what was {promotion.evaluation_kind}: {how}."


# Beside what was measured on the same data by the same spec where there is such, else beside the newest measured, else what there is.
def _beside(champion: Scored | None, judged: Evaluation | None) -> Evaluation | None:
    found = champion.evaluations if champion else ()
    same = [one for one in found if _is_same_spec(one, judged)]
    measured = [one for one in found if one.kind == "measured"]
    return next(iter((*same, *measured, *found)), None)


def _is_same_spec(one: Evaluation | None, other: Evaluation | None) -> bool:
    return one is not None and other is not None and one.spec_digest is not None and one.spec_digest == other.spec_digest


# Rules name a metric in what they look at, or as the text of a parameter they look at.
def _named(story: Story) -> set[str]:
    rules = [rule for said in story.decisions if said.gate == "local" for rule in (said.decision.answer or {}).get("rules", [])]
    used = [pair for rule in rules for pair in rule["used"].items()]
    found = (_A_METRIC.fullmatch(path) for path, _ in used)
    texts = {value for path, value in used if path.startswith("parameters.") and isinstance(value, str)}
    return {match[1] or match[2] for match in found if match} | texts


def _scores(story: Story, scored: Scored, judged: Evaluation | None) -> Iterator[Fact]:
    job = story.job if scored is story.challenger else None
    for one in scored.evaluations:
        yield {
            "of": scored.name,
            "is_judged": judged is not None and one.id == judged.id,
            "kind": one.kind.value,
            "source": _SOURCES[source_of(one.kind, one.spec_digest)],
            "by": one.recorded_by,
            "at": one.created_at,
            "data": _data(one, job),
            "spec": one.spec_digest and one.spec_digest[:_SHORT],
            "parameters": _text((one.spec or {}).get("parameters") or {}),
            "is_other_spec": judged is not None and one.id != judged.id and one.spec_digest != judged.spec_digest,
            "metrics": _text(one.metrics),
        }


def _data(evaluation: Evaluation, job: TrainingJob | None) -> str:
    if evaluation.spec is not None:
        return ", ".join(f"{ref['name']} ({ref['sha256'][:_SHORT]})" for ref in evaluation.spec["datasetRefs"])
    if evaluation.kind == "claimed":
        return "nobody knows"
    used = ", ".join(f"{ref.name} ({ref.sha256[:_SHORT]})" for ref in job.spec.dataset_refs) if job else "what it was trained on"
    return used or "no dataset is named"


def _gate(said: GateDecision, expressions: Mapping[str, Mapping[str, str]]) -> Fact:
    decision, answer = said.decision, said.decision.answer or {}
    rules = answer.get("rules", []) if said.gate == "local" else []
    written = expressions.get(decision.policy_digest or "", {})
    again = ", asked again before it was applied" if said.stage == "apply" else ""
    named = [decision.policy_id, decision.policy_version and f"version {decision.policy_version}", decision.policy_digest]
    return {
        "title": _GATES.get(said.gate, said.gate) + again,
        "allowed": decision.allowed,
        "word": "no answer" if decision.unavailable else decision.decision or "no",
        "reason": decision.reason,
        "policy": ", ".join(one for one in named if one),
        "rules": [_rule(rule, written.get(rule["id"])) for rule in rules],
    }


def _rule(rule: Mapping[str, Any], expression: str | None) -> Fact:
    seen = ((path, _text(value)) for path, value in rule["used"].items())
    used = [(path, _shortened(text, _MOST_SEEN), text if len(text) > _MOST_SEEN else "") for path, text in seen]
    return {**rule, "expression": expression, "used": used}


def _lineage(story: Story) -> Iterator[Fact]:
    if job := story.job:
        spec = job.spec
        yield _fact("code", spec.code_ref, code=True)
        yield _fact("entry point", spec.entry_point or "none: derived from its inputs")
        for ref in spec.dataset_refs:
            yield _fact(f"dataset {ref.name}", f"{ref.uri}\n{ref.sha256}", code=True)
        yield _fact("container (declared)", spec.container_digest, code=True)
        yield _fact("seed", spec.seed)
        yield _fact("hyperparameters", _text(spec.hyperparams), code=True)
        yield _fact("training job", job.id, code=True)
    else:
        yield _fact("training", "none recorded: it was made elsewhere and has no provenance")
    again = story.reproduction
    yield _fact("reproduced", f"{again.outcome.value.replace('_', ' ')}, by {again.reproduced_by}" if again else "nobody has run it again")
    yield _fact("scan", f"{story.scan.verdict.value.replace('_', ' ')} ({story.scan.scanner})" if story.scan else "not scanned")
    if story.known.artifact.metadata:
        yield _fact("metadata", _text(story.known.artifact.metadata), code=True)


def _approval(weighed: Weighed) -> Fact:
    one, taken = weighed.given.approval, weighed.given.withdrawal
    withdrawn = taken and f"taken back {_moment(taken.created_at)} by {taken.withdrawn_by}{f': {taken.reason}' if taken.reason else ''}"
    return {
        "approver": one.approver,
        "how": "with a key of theirs" if one.means is Means.KEY else "the service vouches",
        "roles": ", ".join(sorted(weighed.roles) or one.roles),
        "given": one.created_at,
        "until": one.expires_at,
        "objection": withdrawn or (weighed.objection and f"does not count: {weighed.objection}"),
        "comment": one.comment,
        "attestation": one.attestation,
    }


def _fact(name: str, value: Any, *, code: bool = False) -> Fact:
    return {"name": name, "value": value, "code": code}


def _text(value: Any) -> str:
    return _shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _MOST_TEXT)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
