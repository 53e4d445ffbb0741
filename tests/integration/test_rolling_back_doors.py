"""`aiinfra rollback`, `POST /ai-infra/rollback` and the client: one command to the version before, and what each tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiinfra_core.client import Client
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.errors import NotFound
from aiinfra_core.settings import Settings
from tests.simulators import approvers, oidc, policies
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import is_problem, open_to_debug
from tests.simulators.open_rollouts import SPEC, now, promoted
from tests.simulators.open_rollouts import rolling_out as rollout_of
from tests.simulators.scripted_server import unused_url
from tests.simulators.service import AS_DEBUG, calling, serving

__all__ = ["installation", "run"]

ROLLBACK = "/ai-infra/rollback"
ASKED = {"model": "rainfall", "environment": "production", "reason": "it lost the coast"}


@pytest.fixture
def two(settings: Settings) -> list[Artifact]:
    """Make two versions current in prod, one after the other."""
    found = [approvers.registered(settings, f"weights-{number}") for number in (1, 2)]
    for artifact in found:
        promoted(settings, artifact)
    return found


@pytest.fixture
def api(settings: Settings, two: list[Artifact]) -> Iterator[httpx.Client]:
    with calling(open_to_debug(settings)) as client:
        yield client


def test_it_goes_back_over_http_once_under_its_key(api: httpx.Client, two: list[Artifact]) -> None:
    first, again = (api.post(ROLLBACK, json=ASKED, headers={"Idempotency-Key": "oncall"}) for _ in range(2))
    assert (first.status_code, first.json()) == (200, again.json())
    told: dict[str, Any] = first.json()
    assert (told["status"], told["artifactId"], told["environment"], told["sequence"]) == ("applied", str(two[0].id), "prod", 3)
    assert first.headers["ETag"] == '"3"'
    other = api.post(ROLLBACK, json=ASKED | {"reason": "another"}, headers={"Idempotency-Key": "oncall"})
    assert is_problem(other, 422, "used before")
    assert is_problem(api.post(ROLLBACK, json=ASKED), 404, "What else was current in prod was sent back")
    assert is_problem(api.post(ROLLBACK, json=ASKED | {"to": 0}), 400)
    assert is_problem(api.post(ROLLBACK, json=ASKED | {"reason": ""}), 400)
    assert is_problem(api.post(ROLLBACK, json=ASKED | {"environment": "moon"}), 404, "no environment 'moon'")


def test_only_a_promoter_of_that_environment_goes_back_there_and_in_their_own_name(settings: Settings, two: list[Artifact]) -> None:
    with oidc.issuing() as issuer:
        roles = {f"sub:{name}": [role] for name, role in (("vera", "viewer"), ("stan", "promoter:staging"), ("olga", "promoter:prod"))}
        proven = {"oidc_issuer": issuer.url, "oidc_audience": (oidc.AUDIENCE,), "roles": json.dumps(roles)}
        closed = settings.model_copy(update=proven)
        with calling(closed) as api:
            del api.headers["X-Debug-Token"]
            for name, more, status in (("vera", {}, 403), ("stan", {}, 403), ("olga", {"requestedBy": "ada"}, 403), ("olga", {}, 200)):
                headers = {"Authorization": f"Bearer {issuer.token(sub=name)}"}
                answer = api.post(ROLLBACK, json=ASKED | more, headers=headers)
                assert answer.status_code == status, (name, answer.text)
    assert answer.json()["promotedBy"] == "olga"


def test_a_part_that_is_missing_is_told_with_the_refusal_that_was_recorded(settings: Settings, two: list[Artifact]) -> None:
    gone = open_to_debug(settings, sentinel_url=unused_url(), sentinel_timeout_seconds=0.5)
    with calling(gone) as api:
        answer = api.post(ROLLBACK, json=ASKED)
    assert is_problem(answer, 503, "unavailable:sentinelnet")
    assert answer.json()["promotion"]["status"] == "rejected"


def test_the_client_goes_back(settings: Settings, two: list[Artifact]) -> None:
    with serving(open_to_debug(settings)) as url, Client(url, debug_token=AS_DEBUG["X-Debug-Token"]) as client:
        went = client.roll_back("rainfall", "prod", reason="it lost the coast", request_id="oncall")
        assert (went.status, went.artifact_id) == ("applied", two[0].id)
        assert client.roll_back("rainfall", "prod", reason="it lost the coast", request_id="oncall") == went
        with pytest.raises(NotFound, match="never current"):
            client.roll_back("rainfall", "prod", reason="further", to=9)


def test_one_command_goes_back_and_says_where_to(installation: Settings, run: Run, two: list[Artifact]) -> None:
    went = run("rollback rainfall --env prod --reason 'it lost the coast' --requested-by olga")
    assert (went.code, "rainfall:1 is current in prod again" in went.out) == (0, True)
    assert "aiinfra verify rainfall@prod" in went.out
    assert re.search(r"why:? +it lost the coast\n.*goes back from:? +rainfall:2", went.out)
    assert "goes back from rainfall:2, why: it lost the coast" in run("models show rainfall:1").out
    nothing = run("rollback rainfall --env prod --reason 'once more'")
    assert (nothing.code, "with --to (2)" in nothing.error) == (2, True)
    there = run("rollback rainfall --env prod --to 2 --reason 'it was the coast itself' --requested-by olga --json").json
    assert (there["status"], there["artifactId"]) == ("applied", str(two[1].id))


def test_the_command_ends_a_rollout_and_that_is_a_yes(installation: Settings, run: Run, two: list[Artifact]) -> None:
    rollout = rollout_of(installation, promoted(installation, approvers.registered(installation, "weights-3"), rollout=SPEC))
    went = run("rollback rainfall --env prod --reason 'people complain' --requested-by olga")
    assert (went.code, now(installation, rollout).status) == (0, "rolled_back")
    assert "rainfall:3 was sent back; all traffic of prod goes to what was current all along" in went.out


def test_the_command_tells_whom_a_rollback_waits_for_and_that_a_policy_says_no(
    installation: Settings, run: Run, two: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = policies.under(installation, tmp_path, policies.SEES_EVERYTHING + "rollback: {approvals: {roles: {security: 1}}}\n")
    monkeypatch.setenv("AI_INFRA_POLICY", str(asks.policy))
    waits = run("rollback rainfall --env prod --reason 'it lost the coast'")
    assert (waits.code, "waits for approval" in waits.out, "1 as security" in waits.out) == (0, True, True)
    never = "  - {id: never, on: rollback, expression: 'false', reason: nobody goes back here}\n"
    says_no = policies.under(installation, tmp_path, policies.SEES_EVERYTHING + never)
    monkeypatch.setenv("AI_INFRA_POLICY", str(says_no.policy))
    refused = run("rollback rainfall --env prod --reason 'really' --request-id once-more")
    assert (refused.code, "nobody goes back here" in refused.out) == (3, True)
