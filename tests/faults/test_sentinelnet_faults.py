"""A fault between us and a SentinelNet that would say yes: a recorded no, in time, and nothing becomes current."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core import artifact_store, database, promoting, registering, verifying
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.registry import policy_decisions, promotions
from aiinfra_core.settings import Settings
from tests.simulators import fault_proxy, sentinelnet
from tests.simulators.fault_proxy import Fault, FaultProxy, between
from tests.simulators.scripted_server import unused_url

TIMEOUT_SECONDS = 0.3
ATTEMPTS, BACKOFF_SECONDS = 3, 1.2
LASTING = TIMEOUT_SECONDS * ATTEMPTS + BACKOFF_SECONDS
SLACK_SECONDS = 4.0  # of a busy machine

NO_ANSWER: dict[str, Fault] = {
    "hangs": fault_proxy.hangs,
    "resets": fault_proxy.resets,
    "resets half way": fault_proxy.resets_half_way,
    "drips": fault_proxy.drips,
}
WRONG_ANSWER: dict[str, tuple[Fault, str]] = {
    "truncated JSON": (fault_proxy.cuts_json, "not readable as JSON"),
    "wrong content type": (fault_proxy.calls_it_html, "calls itself text/html"),
    "1 GB": (fault_proxy.floods, "longer than 1048576 bytes"),
    "contradiction": (fault_proxy.contradicts, "contradicts itself"),
}


@pytest.fixture
def artifact(settings: Settings, tmp_path: Path) -> Artifact:
    source = tmp_path / "model.bin"
    source.write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")
    return registering.register(
        settings, RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    )


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Give a proxy without a fault, in front of a SentinelNet that judges by the score."""
    with between(sentinelnet.judges(0.8), fault_proxy.passes) as made:
        yield made


def _promote(settings: Settings, url: str, artifact: Artifact, environment: str = "prod") -> Promotion:
    asking = settings.model_copy(update={"sentinel_url": url, "sentinel_timeout_seconds": TIMEOUT_SECONDS})
    asked = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": 0.9}, requested_by="paul")
    return promoting.promote(asking, asked)


def _is_a_recorded_no(settings: Settings, promotion: Promotion) -> None:
    assert promotion.status is PromotionStatus.REJECTED
    assert promotion.manifest is None
    with database.transaction(settings) as tx:
        (kept,) = policy_decisions.of_promotion(tx, promotion.id)
        assert promotions.pointer(tx, "prod", "rainfall") is None
    assert (kept.gate, kept.decision.allowed, kept.decision) == ("sentinelnet", False, promotion.decision)
    assert not verifying.verify_history(settings).findings


def test_without_a_fault_the_proxy_lets_a_yes_through(settings: Settings, artifact: Artifact, proxy: FaultProxy) -> None:
    assert _promote(settings, proxy.url, artifact).status is PromotionStatus.APPLIED


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_no_answer_is_a_recorded_no_in_time_and_each_attempt_is_the_same_check(
    settings: Settings, artifact: Artifact, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.fault = fault
    began = time.monotonic()
    refused = _promote(settings, proxy.url, artifact)
    assert time.monotonic() - began < LASTING + SLACK_SECONDS
    _is_a_recorded_no(settings, refused)
    assert (refused.reason or "").startswith("unavailable:sentinelnet ")
    assert [question.json["request_id"] for question in proxy.sentinel.requests] == [str(refused.id)] * ATTEMPTS
    assert {question.headers["x-request-id"] for question in proxy.sentinel.requests} == {str(refused.id)}
    proxy.fault = fault_proxy.passes
    assert _promote(settings, proxy.url, artifact).status is PromotionStatus.APPLIED


def test_a_sentinelnet_that_is_not_there_is_a_recorded_no(settings: Settings, artifact: Artifact) -> None:
    refused = _promote(settings, unused_url(), artifact)
    _is_a_recorded_no(settings, refused)
    assert (refused.reason or "").startswith("unavailable:sentinelnet ")


@pytest.mark.parametrize(("fault", "why"), WRONG_ANSWER.values(), ids=WRONG_ANSWER.keys())
def test_a_wrong_answer_is_a_recorded_no_in_time_and_is_not_asked_for_again(
    settings: Settings, artifact: Artifact, proxy: FaultProxy, fault: Fault, why: str
) -> None:
    proxy.fault = fault
    began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = _promote(settings, proxy.url, artifact)
    assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024, "the whole body was read"
    _is_a_recorded_no(settings, refused)
    assert why in (refused.reason or "")
    proxy.fault = fault_proxy.passes
    assert _promote(settings, proxy.url, artifact) == refused
    assert len(proxy.sentinel.requests) == 1


def test_an_answer_to_another_request_is_a_recorded_no(settings: Settings, artifact: Artifact, proxy: FaultProxy) -> None:
    assert _promote(settings, proxy.url, artifact, "staging").status is PromotionStatus.APPLIED
    proxy.fault = fault_proxy.replays
    refused = _promote(settings, proxy.url, artifact)
    _is_a_recorded_no(settings, refused)
    assert "about another request" in (refused.reason or "")
