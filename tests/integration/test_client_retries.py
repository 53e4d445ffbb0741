"""How the client asks: what is tried again and what never is, how long, and that no secret shows; against scripted servers."""

import pickle
import time
from collections.abc import Callable

import pytest

from aiinfra_core import errors
from aiinfra_core.client import PromotionUnavailable
from aiinfra_core.wire.asking import AskedTraining
from tests.factories import CONTAINER
from tests.simulators import scripted_server
from tests.simulators.scripted_server import Behaviour, after, answers, unused_url
from tests.simulators.scripted_service import ARTIFACT, DONE, JOB, PROMOTION, SPEC, asked, client, tells


@pytest.mark.parametrize(
    "first",
    [
        scripted_server.resets,
        scripted_server.cuts_short(b"{"),
        scripted_server.speaks_no_http,
        tells(503, "unavailable", part="database", retry_after=0),
        tells(429, "too_many_requests", retry_after=0),
        tells(409, "in_flight"),
        answers(502, b"<html>no upstream</html>", **{"Content-Type": "text/html"}),
        answers(504, b"", **{"Content-Type": "text/plain"}),
    ],
    ids=["reset", "cut short", "no HTTP", "503", "429", "in flight", "502", "504"],
)
def test_what_may_go_well_the_next_time_is_asked_again_under_the_same_key(first: Behaviour) -> None:
    with asked(first, DONE) as (service, requests):
        job = service.train(SPEC, request_id="mine")
    assert (str(job.id), job.status, job.seed) == (JOB["id"], "queued", 7)
    assert [(one.path, one.headers["idempotency-key"]) for one in requests] == [("/ai-infra/train", "mine")] * 2
    assert requests[0].body == requests[1].body


def test_a_key_is_made_once_for_a_call_and_anew_for_the_next() -> None:
    rejected = answers(200, PROMOTION | {"reason": "too low"})
    with asked(scripted_server.resets, rejected) as (service, requests):
        for _ in range(2):
            assert service.promote(ARTIFACT, "prod", evaluation={"quality": 0.1}).status == "rejected"
    first, again, other = (one.headers["idempotency-key"] for one in requests)
    assert first == again
    assert first != other
    with asked(DONE) as (service, requests):
        service.train(AskedTraining(code_ref=str(JOB["codeRef"]), container_digest=CONTAINER))
        service.train(SPEC)
    assert ["idempotency-key" in one.headers for one in requests] == [True, False]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_input", errors.BadInput),
        (401, "unauthenticated", errors.Unauthenticated),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (405, "method_not_allowed", errors.BadInput),
        (409, "conflict", errors.Conflict),
        (409, "refused", errors.Refused),
        (409, "training_failed", errors.TrainingFailed),
        (412, "outdated", errors.Outdated),
        (413, "too_large", errors.TooLarge),
        (415, "wrong_media_type", errors.WrongMediaType),
        (422, "digest_mismatch", errors.DigestMismatch),
        (422, "request_id_reused", errors.RequestIdReused),
        (422, "artifact_missing", errors.ArtifactMissing),
        (418, "of_a_newer_service", errors.BadInput),
        (500, "unexpected", errors.Unavailable),
        (500, "misconfigured", errors.Unavailable),
    ],
)
def test_every_other_answer_is_its_error_at_once(status: int, code: str, kind: type[errors.AiInfraError]) -> None:
    with asked(tells(status, code)) as (service, requests), pytest.raises(errors.AiInfraError) as told:
        service.train(SPEC, request_id="mine")
    assert (type(told.value), str(told.value), len(requests)) == (kind, "It is so.", 1)


def test_what_does_not_verify_names_its_place() -> None:
    told = tells(500, "evidence_broken", place="audit_events 3", error="audit_events 3: it was edited")
    with asked(told) as (service, _), pytest.raises(errors.EvidenceBroken) as broken:
        service.job(str(JOB["id"]))
    assert (broken.value.place, broken.value.detail) == ("audit_events 3", "it was edited")


def test_a_part_that_stays_away_is_named_and_the_deadline_ends_the_waiting() -> None:
    missing = tells(503, "unavailable", part="signer", retry_after=1)
    with asked(missing, deadline=1.5) as (service, requests):
        begun = time.monotonic()
        with pytest.raises(errors.Unavailable) as gone:
            service.train(SPEC, request_id="mine")
        assert 1.0 <= time.monotonic() - begun < 3.0
    assert (gone.value.part, len(requests)) == ("signer", 2)
    with asked(tells(429, "too_many_requests", retry_after=3600)) as (service, requests), pytest.raises(errors.TooManyRequests) as often:
        service.train(SPEC, request_id="mine")
    assert (often.value.retry_after, len(requests)) == (3600, 1)


@pytest.mark.parametrize("behaviour", [scripted_server.hangs, scripted_server.drips_headers, scripted_server.drips_body])
def test_a_service_that_never_ends_its_answer_is_given_up(behaviour: Behaviour) -> None:
    with (
        asked(behaviour, timeout=0.2, deadline=0.7) as (service, requests),
        pytest.raises(errors.Unavailable, match=r"No whole answer from http://127\.0\.0\.1:\d+ within") as gone,
    ):
        service.job(str(JOB["id"]))
    assert gone.value.part == "service"
    assert len(requests) >= 2


def test_nobody_there_is_unavailable_and_says_what_to_check() -> None:
    with client(unused_url(), deadline=0.6) as service, pytest.raises(errors.Unavailable, match="check that the service runs") as gone:
        service.job(str(JOB["id"]))
    assert gone.value.part == "service"


def test_only_a_read_where_nobody_ever_answered_is_given_up_early() -> None:
    def seconds(ask: Callable[[], object]) -> float:
        begun = time.monotonic()
        with pytest.raises(errors.Unavailable, match=r"failed|Nobody listens"):
            ask()
        return time.monotonic() - begun

    with client(unused_url(), unreached=0.1, deadline=1.5) as service:
        assert seconds(lambda: service.job(str(JOB["id"]))) < 0.5
        assert seconds(lambda: service.train(SPEC, request_id="mine")) > 0.5
    with asked(answers(200, JOB), scripted_server.resets, unreached=0.1, deadline=1.5) as (service, _):
        service.job(str(JOB["id"]))
        assert seconds(lambda: service.job(str(JOB["id"]))) > 0.5


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (answers(200, b"<html>Welcome</html>", **{"Content-Type": "text/html"}), "it is text/html, not JSON"),
        (answers(200, b"{not json", **{"Content-Type": "application/json"}), "not readable as JSON"),
        (answers(200, b'{"id": 1, "id": 2}'), "names a key twice"),
        (answers(200, {"hello": "world"}), "id: Field required"),
        (answers(200, [1]), "it: Input should be"),
        (answers(404, b"404 page not found", **{"Content-Type": "text/plain"}), "HTTP 404 without a problem"),
        (answers(404, {"detail": "Not Found"}), "HTTP 404 without a problem"),
        (tells(404, "not_found", error="Not Found", detail="Not Found"), "HTTP 404 Not Found"),
        (answers(302, b"", Location="https://elsewhere.example/"), "it redirects"),
        (answers(200, b" " * (33 * 1024 * 1024)), "longer than"),
    ],
)
def test_what_is_no_answer_of_this_api_is_told_in_one_sentence(behaviour: Behaviour, why: str) -> None:
    with asked(behaviour) as (service, requests), pytest.raises(errors.Unavailable, match="does not answer as this API does") as told:
        service.job(str(JOB["id"]))
    assert why in str(told.value)
    assert (told.value.part, len(requests), str(told.value).count("\n")) == ("service", 1, 0)


def test_a_promotion_that_could_not_be_judged_is_raised_with_what_was_recorded_and_not_asked_again() -> None:
    missing = tells(503, "unavailable", part="sentinelnet", retry_after=0, promotion=PROMOTION)
    with asked(missing) as (service, requests), pytest.raises(PromotionUnavailable) as told:
        service.promote(ARTIFACT, "prod", evaluation={"quality": 0.9}, request_id="mine")
    assert (told.value.part, str(told.value.promotion.id), len(requests)) == ("sentinelnet", PROMOTION["id"], 1)
    copied = pickle.loads(pickle.dumps(told.value))  # noqa: S301 - our own bytes
    assert (copied.part, copied.promotion, str(copied)) == (told.value.part, told.value.promotion, str(told.value))


def test_a_late_answer_within_the_time_is_taken() -> None:
    with asked(after(0.3, DONE)) as (service, requests):
        assert service.train(SPEC).status == "queued"
    assert len(requests) == 1


def test_where_bytes_are_read_first_an_answer_may_take_longer() -> None:
    with asked(after(0.6, answers(200, PROMOTION)), timeout=0.2, deadline=0.5) as (service, requests):
        assert service.promote(ARTIFACT, "prod").status == "rejected"
    with asked(after(0.6, DONE), timeout=0.2, deadline=0.3) as (service, _), pytest.raises(errors.Unavailable, match="No whole answer"):
        service.train(SPEC)
    assert len(requests) == 1


def test_waiting_tells_each_change_and_a_long_queue_once_and_ends_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiinfra_core.client.writing.LONG_QUEUED_SECONDS", 0.5)
    states = [answers(200, JOB | {"status": status}) for status in ("queued", "queued", "running", "failed")]
    seen = []
    with asked(*states) as (service, requests):
        job = service.wait_for_job(str(JOB["id"]), on_change=lambda job: seen.append(job.status))
    assert (job.status, seen, len(requests)) == ("failed", ["queued", "running", "failed"], 4)
    with asked(*[states[0]] * 4, states[3]) as (service, _):
        service.wait_for_job(str(JOB["id"]), on_long_queued=lambda job: seen.append(f"long {job.status}"))
    assert seen[3:] == ["long queued"]
    with asked(states[0]) as (service, requests), pytest.raises(errors.Unavailable, match="is still queued after"):
        service.wait_for_job(str(JOB["id"]), timeout=0.4)
