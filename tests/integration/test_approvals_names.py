"""Whose name is whose: two spellings are one person, and where a trust root says whose word counts nobody is played."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from aiinfra_core import agreeing, approving, database
from aiinfra_core.approving.statements import Vouched
from aiinfra_core.domain.approval import DEBUG_TOKEN, THIS_MACHINE
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.embedded import defaults
from aiinfra_core.errors import Forbidden
from aiinfra_core.registry import dossier
from aiinfra_core.settings import Settings
from tests.simulators.approvers import agree, agree_by_name, asked, given, now, registered, settings_with_approvers
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import open_to_debug
from tests.simulators.service import AS_DEBUG, serving

__all__ = ["installation", "run"]

POLICY = """
name: apart
version: "1"
answers: {allow: yes-apart, deny: no-apart}
rules:
  - {id: any, expression: "true", reason: never}
approvals: {roles: {security: 1}}
separation_of_duties: {approver_is_not: [registrar]}
"""


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    return settings_with_approvers(settings, tmp_path / "trust")


def test_whoever_asked_does_not_agree_in_other_capitals(place: Settings) -> None:
    waits = asked(place, registered(place), by="ALICE")
    with pytest.raises(Forbidden, match="alice asked for it"):
        agree(place, waits, "alice")
    with pytest.raises(Forbidden, match="Alice asked for it"):
        agree_by_name(place, waits, "Alice", "security")
    assert given(place, waits) == []


def test_whoever_is_kept_apart_does_not_agree_in_other_capitals(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "apart.yaml").write_text(POLICY)
    place = settings.model_copy(update={"policy": str(tmp_path / "apart.yaml")})
    waits = asked(place, registered(place, by="Rita"))
    with pytest.raises(Forbidden, match="rita is its registrar"):
        agree_by_name(place, waits, "rita", "security")
    assert agree_by_name(place, waits, "dora", "security")[1].status is PromotionStatus.APPLIED


def test_one_person_in_two_spellings_fills_one_place(place: Settings) -> None:
    waits = asked(place, registered(place))
    agree(place, waits, "alice")
    assert agree_by_name(place, waits, "Alice", "ml-lead")[1].status is PromotionStatus.PENDING_APPROVAL
    assert agree(place, waits, "bob")[1].status is PromotionStatus.APPLIED


def test_what_was_kept_past_the_checks_in_other_capitals_does_not_count(place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = asked(place, registered(place), by="Alice")
    with monkeypatch.context() as unchecked:
        unchecked.setattr(agreeing, "barred_from", lambda *_: {})
        agree(place, waits, "alice")
    with database.autocommit(place) as connection:
        known = dossier.of_promotion(connection, waits.id)
    assert [one.objection for one in agreeing.weighed(place, known, datetime.now(UTC))] == ["alice asked for it"]


@pytest.mark.parametrize("issuer", [DEBUG_TOKEN, THIS_MACHINE])
def test_nobody_is_played_where_a_trust_root_says_whose_word_counts(settings: Settings, place: Settings, issuer: str) -> None:
    waits, dora = asked(place, registered(place)), Vouched("dora", ("security",), issuer)
    with pytest.raises(Forbidden, match=rf"Nobody proves to be dora \({issuer}\): sign with a key that the trust root lists, or unset"):
        approving.approve(place, waits.id, manifest=waits.manifest or "", identity=dora)
    assert given(place, waits) == []
    played, _ = approving.approve(settings, waits.id, manifest=waits.manifest or "", identity=dora)  # as if before there was a trust root
    with pytest.raises(Forbidden, match="Nobody proves to be dora"):
        approving.withdraw(place, played.id, identity=dora)
    assert agree(place, waits, "bob")[1].status is PromotionStatus.PENDING_APPROVAL
    with database.autocommit(place) as connection:
        known = dossier.of_promotion(connection, waits.id)
    first, second = agreeing.weighed(place, known, datetime.now(UTC))
    assert (first.roles, second.roles) == (frozenset(), frozenset({"ml-lead"}))
    assert first.objection == f"nobody proved to be dora: {issuer} says so, and there is a trust root"
    assert agree(place, waits, "alice")[1].status is PromotionStatus.APPLIED


def test_the_trust_root_of_a_home_that_nobody_configured_lets_nobody_be_played_either(installation: Settings, run: Run) -> None:
    home = defaults.settings_without_database().home
    settings_with_approvers(installation, defaults.trust_folder(home))
    found = defaults.current_settings()
    assert found.trust_root == defaults.trust_folder(home) / "1.root.json"
    waits = asked(found, registered(found))
    refused = run(f"approve {waits.id} --manifest {waits.manifest} --approver alice")
    assert (refused.code, "--key URI" in refused.error) == (2, True)
    with serving(open_to_debug(found)) as url:
        for name in ("two", "three"):
            answer = httpx.post(
                f"{url}/ai-infra/promotions/{waits.id}/approvals",
                headers=AS_DEBUG | {"X-Debug-Actor": name},
                json={"manifest": waits.manifest},
                timeout=30,
            )
            assert (answer.status_code, f"Nobody proves to be debug:{name}" in answer.text) == (403, True)
    assert (given(found, waits), now(found, waits).status) == ([], PromotionStatus.PENDING_APPROVAL)
