import gzip
import json
import re
import time
from typing import Any
from uuid import UUID

import pytest

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.outbound import Patience
from aiinfra_core.policy import gate
from aiinfra_core.policy.question import Question
from aiinfra_core.policy.sentinelnet import ask
from aiinfra_core.settings import Settings
from tests.simulators import sentinelnet
from tests.simulators.scripted_server import (
    Behaviour,
    after,
    answers,
    cuts_short,
    drips_body,
    drips_headers,
    hangs,
    resets,
    speaks_no_http,
    unused_url,
)

QUICK = Patience(timeout_seconds=2.0, attempts=3, backoff_seconds=0.001)
IMPATIENT = Patience(timeout_seconds=0.15, attempts=2, backoff_seconds=0.001)
QUESTION = Question(
    request_id="promote-1",
    actor="ada",
    artifact_id=UUID(int=1),
    model="rainfall",
    version=3,
    digest="ab" * 32,
    environment="prod",
    evaluation={"quality": "0.8641"},
    promotion_id=UUID(int=2),
)
ABSENT = object()


def asked(*script: Behaviour, patience: Patience = QUICK, requests: int = 1) -> Decision:
    """What a gate that behaves so decides, having been asked so often."""
    with sentinelnet.serve(*script) as server:
        decision = ask(server.url, QUESTION, patience)
    assert len(server.requests) == requests
    assert decision.source == "sentinelnet"
    assert decision.reason
    return decision


def answer(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


def test_the_gate_is_asked_as_agreed() -> None:
    with sentinelnet.serve(sentinelnet.allows()) as server:
        settings = Settings.model_validate({"home": "/nowhere", "sentinel_url": f"{server.url}/"})
        assert gate.ask_sentinelnet(settings, QUESTION).allowed
    (request,) = server.requests
    assert (request.path, request.json) == ("/sentinelnet/check", QUESTION.body())
    assert request.headers["x-request-id"] == "promote-1"
    assert request.headers["content-type"] == "application/json"


def test_a_simple_yes_is_a_yes() -> None:
    decision = asked(sentinelnet.allows())
    assert (decision.allowed, decision.policy_id, decision.reason) == (True, "quality-gate", "score is high enough")
    assert decision.answer == sentinelnet.SIMPLE_YES


def test_a_full_yes_is_kept_whole() -> None:
    assert asked(answers(200, sentinelnet.FULL_YES)) == Decision(
        allowed=True,
        decision="allow",
        policy_id="quality-gate",
        policy_version="7",
        rule_id="min-quality",
        reason="score is high enough",
        source="sentinelnet",
        answer=sentinelnet.FULL_YES,
    )


def test_a_denial_by_status_is_a_no_with_its_policy() -> None:
    decision = asked(sentinelnet.denies())
    assert (decision.allowed, decision.unavailable, decision.decision) == (False, False, "deny")
    assert (decision.policy_id, decision.reason, decision.answer) == ("freeze", "release freeze", sentinelnet.DENIED)


WORDS = ["allow", "deny", "quarantine", "remediate", "ALLOW", "yes", "", True, None, 1, ["allow"], {"allowed": True}, ABSENT]
FLAGS = [True, False, ABSENT, None, "true", "false", 1, 0, []]


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_every_pair_of_decision_and_allowed_is_a_no_but_the_clear_yes(status: int) -> None:
    pairs = [(word, flag) for word in WORDS for flag in FLAGS]
    with sentinelnet.serve(*(answers(status, answer(decision=word, allowed=flag)) for word, flag in pairs)) as server:
        decisions = [ask(server.url, QUESTION, Patience(2.0, 1, 0.001)) for _ in pairs]
    clear = [("allow", True), ("allow", ABSENT), (ABSENT, True)] if status == 200 else []
    said_yes = [pair for pair, decision in zip(pairs, decisions, strict=True) if decision.allowed is True]
    assert sorted(map(str, said_yes)) == sorted(map(str, clear))
    assert all(decision.unavailable is (status == 500) for decision in decisions)


@pytest.mark.parametrize("word", ["deny", "quarantine", "remediate"])
def test_a_clear_no_keeps_its_word_and_reason(word: str) -> None:
    decision = asked(answers(200, {"decision": word, "policyId": None, "rationale": "not yet", "reason": "other"}))
    assert (decision.allowed, decision.decision, decision.policy_id, decision.reason) == (False, word, None, "not yet")


def test_an_answer_without_a_reason_gets_one() -> None:
    assert asked(answers(200, {"allowed": True})).reason == "SentinelNet said allow and gave no reason."
    assert asked(answers(200, {"allowed": False, "reason": 7})).reason == "SentinelNet said deny and gave no reason."


YES = {"allowed": True}
NO_ANSWER: dict[str, tuple[Behaviour, str]] = {
    "201": (answers(201, YES), "HTTP 201"),
    "202": (answers(202, YES), "HTTP 202"),
    "204": (answers(204, b""), "HTTP 204"),
    "redirect": (answers(302, YES, Location="http://127.0.0.1:1/"), "HTTP 302"),
    "400": (answers(400, YES), "HTTP 400"),
    "401": (answers(401, b"<html>login</html>", Content_Type="text/html"), "HTTP 401"),
    "404": (answers(404, b"not found"), "HTTP 404"),
    "408": (answers(408, YES), "HTTP 408"),
    "429": (answers(429, YES), "HTTP 429"),
    "404 that denies": (answers(404, {"allowed": False, "policyId": "p", "reason": "r"}), "gave no decision (HTTP 404)"),
    "yes and no": (answers(200, {"decision": "deny", "allowed": True}), "contradicts itself"),
    "no and yes": (answers(200, {"decision": "allow", "allowed": False}), "contradicts itself"),
    "403 that allows": (answers(403, YES), "contradicts its own status"),
    "403 that allows inside": (answers(403, {"decision": {"decision": "allow"}}), "contradicts its own status"),
    "403 without a decision": (answers(403, {"error": "forbidden"}), "neither decision nor allowed"),
    "403 in HTML": (answers(403, b"<html>"), "not readable as JSON"),
    "a decision inside a 200": (answers(200, {"decision": YES}), "decision is none of allow"),
    "empty": (answers(200, b""), "not readable as JSON"),
    "text": (answers(200, b"allow"), "not readable as JSON"),
    "cut JSON": (answers(200, b'{"allowed": true'), "not readable as JSON"),
    "two objects": (answers(200, b'{"allowed": true}{"allowed": true}'), "not readable as JSON"),
    "list": (answers(200, [YES]), "not a JSON object"),
    "true": (answers(200, True), "not a JSON object"),
    "null": (answers(200, None), "not a JSON object"),
    "allowed twice": (answers(200, b'{"allowed": false, "allowed": true}'), "names a key twice"),
    "NaN": (answers(200, {"allowed": True, "score": float("nan")}), "NaN"),
    "infinite": (answers(200, b'{"allowed": true, "score": 1e999}'), "too large"),
    "deep": (answers(200, b'{"allowed": true, "x": ' + b"[" * 70 + b"]" * 70 + b"}"), "nested deeper"),
    "very deep": (answers(200, b"[" * 500_000), "not readable as JSON"),
    "not UTF-8": (answers(200, b'{"allowed": true, "reason": "\xff"}'), "not readable as JSON"),
    "half a character": (answers(200, b'{"allowed": true, "reason": "\\ud800"}'), "surrogate"),
    "zero character": (answers(200, {"allowed": True, "reason": "a\x00b"}), "zero character"),
    "compressed": (answers(200, gzip.compress(b'{"allowed": true}'), Content_Encoding="gzip"), "not readable as JSON"),
    "policy a list": (answers(200, {"allowed": True, "policyId": ["a"]}), "policyId is not a short text"),
    "rule a flag": (answers(200, {"allowed": True, "ruleId": True}), "ruleId is not a short text"),
    "policy too long": (answers(200, {"allowed": True, "policy_id": "x" * 300}), "policyId is not a short text"),
    "another request": (answers(200, {"allowed": True, "request_id": "promote-2"}), "about another request"),
    "another requestId": (answers(200, {"allowed": True, "requestId": "promote-2"}), "about another request"),
    "another artifact": (answers(200, {"allowed": True, "artifactId": str(UUID(int=9))}), "about another artifact"),
    "another environment": (answers(200, {"allowed": True, "environment": "staging"}), "about another environment"),
    "not called JSON": (answers(200, YES, Content_Type="text/html"), "calls itself text/html, not application/json"),
    "huge": (answers(200, b'{"allowed": true, "x": "' + b"x" * (1024 * 1024) + b'"}'), "longer than 1048576 bytes"),
}


@pytest.mark.parametrize(("behaviour", "why"), NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_an_unclear_answer_is_a_recorded_no_and_not_asked_for_again(behaviour: Behaviour, why: str) -> None:
    decision = asked(behaviour)
    assert (decision.allowed, decision.unavailable) == (False, False)
    assert why in decision.reason
    assert decision.reason.endswith("so it counts as a no.")
    assert canonical_json.dumps(decision.model_dump(mode="json"))


TROUBLE = {
    "500": answers(500, YES),
    "502": answers(502, b"<html>"),
    "503": answers(503),
    "reset": resets,
    "cut short": cuts_short(b'{"allowed": true}'),
    "no HTTP": speaks_no_http,
}


@pytest.mark.parametrize("behaviour", TROUBLE.values(), ids=TROUBLE.keys())
def test_a_passing_trouble_is_tried_again(behaviour: Behaviour) -> None:
    assert asked(behaviour, behaviour, sentinelnet.allows(), requests=3).allowed


@pytest.mark.parametrize("behaviour", TROUBLE.values(), ids=TROUBLE.keys())
def test_a_lasting_trouble_is_an_unavailable_no(behaviour: Behaviour) -> None:
    decision = asked(behaviour, requests=3)
    assert (decision.allowed, decision.unavailable, decision.answer) == (False, True, None)
    assert "Gave up after 3 attempts" in decision.reason


@pytest.mark.parametrize("behaviour", [hangs, drips_body, drips_headers], ids=["hangs", "drips its body", "drips its headers"])
def test_a_slow_gate_is_cut_off_in_time(behaviour: Behaviour) -> None:
    started = time.monotonic()
    decision = asked(behaviour, patience=IMPATIENT, requests=2)
    assert time.monotonic() - started < 2
    assert (decision.allowed, decision.unavailable) == (False, True)
    assert "No whole answer from 127.0.0.1 within 0.15 s" in decision.reason


def test_a_late_yes_within_the_time_is_a_yes() -> None:
    assert asked(after(0.1, sentinelnet.allows())).allowed


def test_a_gate_that_is_down_is_an_unavailable_no() -> None:
    decision = ask(unused_url(), QUESTION, QUICK)
    assert (decision.allowed, decision.unavailable) == (False, True)
    assert re.search(r"connection to 127\.0\.0\.1:\d+ failed", decision.reason)


@pytest.mark.parametrize("quality", [0.9, 0.5])
def test_a_gate_that_compares_numbers_gets_numbers(quality: float) -> None:
    with sentinelnet.serve(sentinelnet.judges(0.8)) as server:
        decision = ask(server.url, QUESTION.model_copy(update={"evaluation": {"quality": quality}}), QUICK)
    assert decision.allowed is (quality == 0.9)
    assert decision.answer is not None
    assert decision.answer["request_id"] == "promote-1"


def test_an_answer_too_large_to_keep_is_kept_by_its_digest() -> None:
    body = json.dumps({"allowed": True, "policyId": "p", "padding": "x" * 70_000}).encode()
    decision = asked(answers(200, body))
    assert (decision.allowed, decision.policy_id) == (True, "p")
    assert decision.answer == {"sha256": sha256_hex(body), "bytes": len(body)}


def test_an_answer_that_cannot_be_read_is_kept_by_its_digest() -> None:
    assert asked(answers(200, b"allow")).answer == {"sha256": sha256_hex(b"allow"), "bytes": 5}


def test_numbers_too_large_for_evidence_are_kept_as_text() -> None:
    decision = asked(answers(200, {"allowed": True, "policyVersion": 12, "seen": [2**53 + 1, -(2**70) - 1, 5, 0.5, True]}))
    assert decision.policy_version == "12"
    assert decision.answer == {"allowed": True, "policyVersion": 12, "seen": [str(2**53 + 1), str(-(2**70) - 1), 5, 0.5, True]}


def test_a_long_reason_is_shortened() -> None:
    assert len(asked(answers(200, {"allowed": False, "reason": "x" * 5000})).reason) == 2000


def test_cookies_of_the_gate_are_not_sent_back() -> None:
    with sentinelnet.serve(answers(200, YES, Set_Cookie="session=1")) as server:
        ask(server.url, QUESTION, QUICK)
        ask(server.url, QUESTION, QUICK)
    assert "cookie" not in server.requests[1].headers
