"""Asking SentinelNet over HTTP and reading its answer so that only a clear yes is a yes.

What is asked lives in `question`. Whatever the gate does, the outcome is a Decision: an outage is one with `unavailable` set.
"""

import re
from typing import Any

from aiinfra_core import canonical_json, outbound
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.outbound import Patience, Reply
from aiinfra_core.policy.question import Question

SOURCE = "sentinelnet"
WORDS = ("allow", "deny", "quarantine", "remediate")
_MAX_BODY_BYTES = 1024 * 1024
_MAX_KEPT_BYTES = 64 * 1024
_MAX_REASON, _MAX_FIELD = 2000, 256
_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json")
_NAMES_OF = {
    "request": ("request_id", "requestId"),
    "artifact": ("artifact_id", "artifactId"),
    "environment": ("environment", "target_env"),
}


def ask(url: str, question: Question, patience: Patience) -> Decision:
    """Return SentinelNet's decision.

    1. HTTP 200 is read; 403 is a no whose body is read; any other status below 500 is a no that says so.
    2. The body is strict JSON, says so, is not over 1 MiB, and names no other request, artifact or environment.
    3. `decision` (allow, deny, quarantine, remediate), `allowed` (true, false) or both are there, clear, and agree.

    5xx, connection errors and time-outs are retried; when that does not help, `unavailable` is true. The answer is kept
    whole up to 64 KiB, else by its digest.

    Args:
        url: the base URL, without a slash at its end.
        question: what is asked.
        patience: how long to try.
    """
    body = canonical_json.dumps(question.body())
    headers = {"X-Request-Id": question.request_id}
    try:
        reply = outbound.post(
            "sentinelnet", f"{url}/sentinelnet/check", body, headers=headers, patience=patience, max_bytes=_MAX_BODY_BYTES
        )
    except Unavailable as error:
        return _no(str(error), unavailable=True)
    return _read(reply, question)


def _read(reply: Reply, question: Question) -> Decision:
    if reply.too_long:
        return _no(f"SentinelNet's answer is longer than {_MAX_BODY_BYTES} bytes, so it counts as a no.")
    answer: dict[str, Any] | None = None
    try:
        answer = _json_object(reply)
        return _understood(reply.status, answer, question).model_copy(update={"answer": _kept(reply, answer)})
    except BadInput as error:
        why = str(error).removesuffix(".") if reply.status in (200, 403) else "SentinelNet gave no decision"
        return _no(f"{why} (HTTP {reply.status}), so it counts as a no.", answer=_kept(reply, answer))


def _understood(status: int, answer: dict[str, Any], question: Question) -> Decision:
    if status not in (200, 403):
        raise BadInput("SentinelNet gave no decision")
    nested = answer.get("decision")
    verdict = nested if status == 403 and isinstance(nested, dict) else answer
    for said in (answer, verdict):
        _about_this(said, question)
    allowed = _allowed(verdict)
    if allowed and status != 200:
        raise BadInput("SentinelNet's answer contradicts its own status")
    word = verdict.get("decision")
    return Decision(
        allowed=allowed,
        decision=word,
        policy_id=_text(verdict, "policyId", "policy_id"),
        policy_version=_text(verdict, "policyVersion", "policy_version"),
        rule_id=_text(verdict, "ruleId", "rule_id"),
        reason=_reason(verdict, word or ("allow" if allowed else "deny")),
        source=SOURCE,
    )


def _about_this(said: dict[str, Any], question: Question) -> None:
    asked = {"request": question.request_id, "artifact": str(question.artifact_id), "environment": question.environment}
    for what, names in _NAMES_OF.items():
        if any(said.get(name) not in (None, asked[what]) for name in names):
            raise BadInput(f"SentinelNet's answer is about another {what}")


def _allowed(verdict: dict[str, Any]) -> bool:
    votes = set()
    if "decision" in verdict:
        if verdict["decision"] not in WORDS:
            raise BadInput(f"SentinelNet's decision is none of {', '.join(WORDS)}")
        votes.add(verdict["decision"] == "allow")
    if "allowed" in verdict:
        if not isinstance(verdict["allowed"], bool):
            raise BadInput("SentinelNet's allowed is neither true nor false")
        votes.add(verdict["allowed"])
    if len(votes) != 1:
        raise BadInput("SentinelNet's answer contradicts itself" if votes else "SentinelNet's answer has neither decision nor allowed")
    return votes == {True}


def _reason(verdict: dict[str, Any], word: str) -> str:
    said = next((verdict[name] for name in ("rationale", "reason") if isinstance(verdict.get(name), str) and verdict[name]), None)
    return said[:_MAX_REASON] if said else f"SentinelNet said {word} and gave no reason."


def _text(verdict: dict[str, Any], *names: str) -> str | None:
    value = next((verdict[name] for name in names if verdict.get(name) is not None), None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or len(str(value)) > _MAX_FIELD:
        raise BadInput(f"SentinelNet's {names[0]} is not a short text")
    return str(value)


def _json_object(reply: Reply) -> dict[str, Any]:
    if reply.body and not _JSON.fullmatch(reply.media_type):
        raise BadInput(f"SentinelNet's answer calls itself {reply.media_type[:80] or 'nothing'}, not application/json")
    answer = _recordable(canonical_json.loads(reply.body, what="SentinelNet's answer"))
    if not isinstance(answer, dict):
        raise BadInput("SentinelNet's answer is not a JSON object")
    return answer


# Evidence holds large integers as decimal strings, and Postgres cannot hold a zero character.
def _recordable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_recordable(name): _recordable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_recordable(item) for item in value]
    if isinstance(value, str) and "\x00" in value:
        raise BadInput("SentinelNet's answer holds a zero character")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value


def _kept(reply: Reply, answer: dict[str, Any] | None) -> dict[str, Any]:
    if answer is not None and len(canonical_json.dumps(answer)) <= _MAX_KEPT_BYTES:
        return answer
    return {"sha256": sha256_hex(reply.body), "bytes": len(reply.body)}


def _no(reason: str, *, unavailable: bool = False, answer: dict[str, Any] | None = None) -> Decision:
    return Decision(allowed=False, policy_id=None, reason=reason[:_MAX_REASON], source=SOURCE, unavailable=unavailable, answer=answer)
