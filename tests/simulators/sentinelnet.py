"""A SentinelNet over a real socket: `POST /sentinelnet/check`, with the answers seen in the field."""

import json
from typing import Any

from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, scripted_server

serve = scripted_server
SIMPLE_YES = {"allowed": True, "policyId": "quality-gate", "reason": "score is high enough"}
FULL_YES = {
    "decision": "allow",
    "allowed": True,
    "policy_id": "quality-gate",
    "policy_version": "7",
    "ruleId": "min-quality",
    "rationale": "score is high enough",
    "evidence_refs": ["case-17"],
    "ts": "2026-03-01T10:00:00Z",
}
DENIED = {"error": "policy.denied", "decision": {"decision": "deny", "allowed": False, "policyId": "freeze", "rationale": "release freeze"}}


def allows() -> Behaviour:
    """Say yes to everything."""
    return answers(200, SIMPLE_YES)


def denies() -> Behaviour:
    """Say no the way SentinelNet does over HTTP 403."""
    return answers(403, DENIED)


def judges(minimum: float) -> Behaviour:
    """Decide by the score that was sent, like a real policy, echoing the request id."""

    def judge(handler: Handler, received: Received) -> None:
        asked: dict[str, Any] = received.json
        quality = asked["context"]["metrics"].get("quality")
        allowed = isinstance(quality, (int, float)) and quality >= minimum
        answer = {
            "allowed": allowed,
            "decision": "allow" if allowed else "deny",
            "policyId": "quality-gate",
            "request_id": asked["request_id"],
        }
        handler.send(200, json.dumps(answer).encode())

    return judge
