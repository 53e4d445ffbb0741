"""Asking again after a refusal: its own way out works, and whatever else said no stays said."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from aiinfra_core import asking, database, promoting, reproducing, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.errors import Outdated, RequestIdReused
from aiinfra_core.registry import promotion_requests
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_promotions
from tests.simulators import approvers, policies, sentinelnet
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]

REPRODUCED = """\
name: made-again
version: "1"
rules:
  - id: reproduced
    expression: reproduction.outcome == "identical"
    reason: "Trained again, it came out {reproduction.outcome}."
    missing: "It was not trained again; next: aiinfra reproduce {artifact.model}:{artifact.version}"
"""
STRICTER, FROZEN = policies.SEES_EVERYTHING.replace("least: 0.5", "least: 0.95"), policies.SEES_EVERYTHING.rstrip() + policies.AT_THE_END


def _refused(settings: Settings, folder: Path, **more: Any) -> tuple[Artifact, Promotion]:
    """Let the local policy refuse a promotion that the policy of `policies.under` would allow."""
    artifact = approvers.registered(settings)
    refused = policies.promote(policies.under(settings, folder, STRICTER), artifact, **more)
    assert refused.status is PromotionStatus.REJECTED
    return artifact, refused


def _asked(settings: Settings) -> int:
    with database.autocommit(settings) as connection:
        return connection.execute(select(func.count()).select_from(model_promotions)).scalar_one()


def test_what_a_refusal_asks_for_was_done_and_the_same_call_is_answered_anew(settings: Settings, tmp_path: Path, trained: Trained) -> None:
    under = policies.under(settings, tmp_path, REPRODUCED)
    artifact = trained("put(text=str(inputs['seed'])); metrics.write_text(json.dumps({'quality': 0.9, 'rows': 4}))")
    refused = policies.promote(under, artifact, quality=None)
    assert (refused.status, "next: aiinfra reproduce" in (refused.reason or "")) == (PromotionStatus.REJECTED, True)
    assert policies.promote(under, artifact, quality=None) == refused
    reproducing.reproduce(settings, ReproductionRequest(artifact=str(artifact.id), reproduced_by="rosa"), on_output=print)
    applied = policies.promote(under, artifact, quality=None)
    assert (applied.status, applied.request_id) == (PromotionStatus.APPLIED, promotion_requests.id_after(refused.id))
    assert policies.promote(under, artifact, quality=None) == applied
    assert approvers.now(under, refused) == refused
    assert verifying.verify_history(under).findings == []


def test_whoever_read_what_was_current_just_before_it_moved_is_told_so_and_asks_for_nothing_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, quick = approvers.registered(settings, "late"), approvers.registered(settings, "quick")
    request = PromotionRequest(artifact=str(late.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    overtaken, ask = promoting.request_promotion(settings, request), asking.ask

    def meanwhile(place: Settings, asked: asking.Asked) -> Dossier:
        monkeypatch.setattr(asking, "ask", ask)
        assert policies.promote(place, quick).status is PromotionStatus.APPLIED
        assert promoting.go_on(place, overtaken).status is PromotionStatus.SUPERSEDED
        return ask(place, asked)

    monkeypatch.setattr(asking, "ask", meanwhile)
    assert promoting.request_promotion(settings, request) == overtaken
    assert _asked(settings) == 2


def test_what_is_still_refused_is_the_recorded_no(settings: Settings, tmp_path: Path) -> None:
    artifact, refused = _refused(settings, tmp_path)
    other = policies.under(settings, tmp_path, STRICTER.replace("0.95", "0.92"))
    assert policies.promote(other, artifact) == refused
    unreadable = policies.under(settings, tmp_path, "name: none\n")
    assert policies.promote(unreadable, artifact) == refused
    assert approvers.events(settings).count("policy.adopted") == 1, "nothing is recorded of what is only looked at"


def test_a_no_of_sentinelnet_stays_also_where_the_policy_had_said_no_too(settings: Settings, tmp_path: Path) -> None:
    with sentinelnet.serve(sentinelnet.denies()) as server:
        place = settings.model_copy(update={"sentinel_url": server.url})
        artifact, both = _refused(place, tmp_path)
        assert policies.promote(policies.under(place, tmp_path), artifact) == both
        alone = policies.promote(policies.under(place, tmp_path), artifact, "staging")
        assert policies.promote(policies.under(place, tmp_path), artifact, "staging") == alone
        assert (len(server.requests), _asked(settings)) == (2, 2)


def test_where_sentinelnet_had_agreed_it_is_asked_anew_and_its_no_is_the_last_word(settings: Settings, tmp_path: Path) -> None:
    with sentinelnet.serve(sentinelnet.allows(), sentinelnet.denies()) as server:
        place = settings.model_copy(update={"sentinel_url": server.url})
        artifact, refused = _refused(place, tmp_path)
        under = policies.under(place, tmp_path)
        again = policies.promote(under, artifact)
        assert (again.status, again.id != refused.id) == (PromotionStatus.REJECTED, True)
        assert policies.promote(under, artifact) == again
        assert [one.json["request_id"] for one in server.requests] == [str(refused.id), str(again.id)]


def test_where_the_policy_is_no_gate_any_more_its_no_stays(settings: Settings, tmp_path: Path) -> None:
    artifact, refused = _refused(settings, tmp_path)
    with sentinelnet.serve(sentinelnet.allows()) as server:
        assert policies.promote(settings.model_copy(update={"sentinel_url": server.url}), artifact) == refused


def test_under_a_request_id_of_its_own_a_request_keeps_its_answer(settings: Settings, tmp_path: Path) -> None:
    artifact, refused = _refused(settings, tmp_path, request_id="release-7")
    under = policies.under(settings, tmp_path)
    assert policies.promote(under, artifact, request_id="release-7") == refused
    with pytest.raises(RequestIdReused):
        policies.promote(under, artifact, request_id="release-7", requested_by="petra")
    assert policies.promote(under, artifact, request_id="release-8").status is PromotionStatus.APPLIED


def test_whoever_ask_anew_at_once_get_one_promotion(settings: Settings, tmp_path: Path) -> None:
    artifact, _ = _refused(settings, tmp_path)
    under, start, given = policies.under(settings, tmp_path), threading.Barrier(6), list[Promotion | BaseException]()

    def ask() -> None:
        start.wait()
        try:
            given.append(policies.promote(under, artifact))
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            given.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.status for one in given if isinstance(one, Promotion)] == [PromotionStatus.APPLIED] * 6, given
    assert _asked(settings) == 2
    assert verifying.verify_history(settings).findings == []


def test_what_was_only_asked_for_anew_goes_on_with_the_next_call_whatever_the_policy_says_by_then(
    settings: Settings, tmp_path: Path
) -> None:
    artifact, _ = _refused(settings, tmp_path)
    request = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    begun = promoting.request_promotion(policies.under(settings, tmp_path), request)
    ended = policies.promote(policies.under(settings, tmp_path, STRICTER), artifact)
    assert (ended.id, ended.status, _asked(settings)) == (begun, PromotionStatus.REJECTED, 2)
    third = policies.promote(policies.under(settings, tmp_path), artifact)
    assert (third.status, third.request_id) == (PromotionStatus.APPLIED, promotion_requests.id_after(begun))


def test_with_what_was_seen_a_repeated_request_finds_what_was_asked_anew_and_asks_nothing_more(settings: Settings, tmp_path: Path) -> None:
    artifact, refused = _refused(settings, tmp_path, sequence_seen=0)
    other = approvers.registered(settings, "other")
    under = policies.under(settings, tmp_path)
    applied = policies.promote(under, artifact, sequence_seen=0)
    assert (applied.status, applied.request_id) == (PromotionStatus.APPLIED, promotion_requests.id_after(refused.id))
    assert policies.promote(under, artifact, sequence_seen=0) == applied
    with pytest.raises(Outdated):
        policies.promote(under, other, sequence_seen=0)


def test_a_refusal_over_what_is_not_current_any_more_is_not_asked_anew(settings: Settings, tmp_path: Path) -> None:
    artifact, refused = _refused(settings, tmp_path)
    under = policies.under(settings, tmp_path)
    assert policies.promote(under, approvers.registered(settings, "other")).status is PromotionStatus.APPLIED
    assert policies.promote(under, artifact, sequence_seen=0) == refused


def test_a_no_before_it_was_to_be_applied_is_asked_anew_once_that_would_be_a_yes(settings: Settings, tmp_path: Path) -> None:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust")
    frozen, thawed = policies.under(place, tmp_path, FROZEN), policies.under(place, tmp_path)
    artifact = approvers.registered(place)
    waits = approvers.asked(frozen, artifact)
    approvers.agree(frozen, waits, "alice")
    _, refused = approvers.agree(frozen, waits, "bob")
    assert (refused.status, refused.reason) == (PromotionStatus.REJECTED, "Something came in between.")
    assert policies.promote(frozen, artifact) == refused
    again = policies.promote(thawed, artifact)
    assert (again.status, approvers.given(thawed, again)) == (PromotionStatus.PENDING_APPROVAL, [])
    assert policies.promote(thawed, artifact) == again


def test_what_nobody_agreed_to_in_time_is_asked_anew(settings: Settings, tmp_path: Path) -> None:
    place = policies.under(approvers.settings_with_approvers(settings, tmp_path / "trust"), tmp_path)
    artifact = approvers.registered(place)
    waits = approvers.asked(place, artifact)
    with database.transaction(place) as tx:
        tx.execute(update(model_promotions).values(pending_until=waits.created_at))
    expired = promoting.go_on(place, waits.id)
    assert expired.status is PromotionStatus.EXPIRED
    strict = place.model_copy(update={"policy": policies.under(place, tmp_path, STRICTER).policy})
    assert policies.promote(strict, artifact) == expired
    again = policies.promote(place, artifact)
    assert (again.status, again.id != expired.id) == (PromotionStatus.PENDING_APPROVAL, True)


def test_a_no_that_no_gate_said_stays(settings: Settings, tmp_path: Path) -> None:
    artifact = approvers.registered(settings)
    stored = Path(artifact.artifact_uri.removeprefix("file://"))
    stored.write_bytes(b"weighty")
    refused = policies.promote(settings, artifact)
    assert (refused.reason or "").startswith("artifact:")
    stored.write_bytes(b"weights")
    assert policies.promote(settings, artifact) == refused


@pytest.mark.parametrize("requester", ["paul", "tess"])
def test_it_is_judged_with_whoever_asks_now(settings: Settings, tmp_path: Path, requester: str) -> None:
    under = policies.under(
        settings, tmp_path, policies.SEES_EVERYTHING + '  - {id: who, expression: requester == "tess", reason: Not you.}\n'
    )
    artifact = approvers.registered(settings)
    refused = policies.promote(under, artifact)
    again = policies.promote(under, artifact, requested_by=requester)
    assert (again.status is PromotionStatus.APPLIED, again == refused) == (requester == "tess", requester == "paul")


def test_a_first_request_and_one_that_was_answered_with_a_yes_read_nothing_of_refusals(settings: Settings, tmp_path: Path) -> None:
    under, artifact, said = policies.under(settings, tmp_path), approvers.registered(settings), list[str]()
    with database.autocommit(settings) as connection:
        engine = connection.engine

    def listen(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        for seen in (None, 0, None):
            assert policies.promote(under, artifact, sequence_seen=seen).status is PromotionStatus.APPLIED
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    assert len(said) > len(set(said)) > 0
    assert not [one for one in said if "FROM policy_decisions" in one]
    assert len([one for one in said if "FROM request_ids" in one]) == 1, "only whoever saw what is not current any more looks for its id"
