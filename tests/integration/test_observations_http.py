"""`POST /ai-infra/rollouts/{id}/observations`, as serving processes post to it through the client."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from aiinfra_core import database
from aiinfra_core.client import Client
from aiinfra_core.domain.rollout import Arm, Counts, Rollout
from aiinfra_core.errors import BadInput, NotFound, RequestIdReused, Unauthenticated
from aiinfra_core.registry import observations
from aiinfra_core.rollout_tables import rollout_batches
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import MOST_OBSERVED, AskedObservations, ObservedCounts, ObservedUser
from tests.simulators.http_story import open_to_debug
from tests.simulators.oidc import AUDIENCE, issuing
from tests.simulators.open_rollouts import ERRORS, begun
from tests.simulators.service import AS_DEBUG, serving

ASKED = AskedObservations(
    batch=uuid4(),
    reporter="server-1",
    step=0,
    counts=(ObservedCounts(arm=Arm.CHAMPION, units=90, errors=9, latency={30: 90}), ObservedCounts(arm=Arm.CHALLENGER, units=10)),
)


@pytest.fixture
def rollout(settings: Settings) -> Rollout:
    return begun(settings)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serving(open_to_debug(settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, debug_token=AS_DEBUG["X-Debug-Token"]) as made:
        yield made


def test_a_batch_is_counted_once_and_whoever_sent_it_is_kept(settings: Settings, rollout: Rollout, client: Client) -> None:
    assert [client.observe(rollout.id, ASKED).counted for _ in range(2)] == [True, False]
    with database.autocommit(settings) as connection:
        reading = observations.read(connection, rollout, ERRORS, datetime.now(UTC))
        assert connection.execute(select(rollout_batches.c.reporter)).scalars().all() == ["debug/server-1"]
    assert (reading.champion, reading.challenger) == (Counts(units=90, bad=9), Counts(units=10, bad=0))


def test_whoever_reports_elsewhere_reports_nothing_here(settings: Settings, rollout: Rollout) -> None:
    roles = ("reporter:staging", "promoter:prod", "reporter:prod", "reporter:*")
    given = json.dumps({f"group:{role}": [role] for role in roles})
    with issuing() as issuer:
        known = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": given, "public_reads": False}
        with serving(settings.model_copy(update=known)) as url:
            answers = {
                role: httpx.post(
                    f"{url}/ai-infra/rollouts/{rollout.id}/observations",
                    content=ASKED.model_copy(update={"batch": uuid4()}).model_dump_json(by_alias=True),
                    headers={"Authorization": f"Bearer {issuer.token(groups=[role])}", "Content-Type": "application/json"},
                )
                for role in roles
            }
    assert {role: answer.status_code for role, answer in answers.items()} == dict(zip(roles, (403, 403, 200, 200), strict=True))
    assert "has no role reporter:prod; ask an administrator for it" in answers["reporter:staging"].text
    with database.autocommit(settings) as connection:
        assert connection.execute(select(func.count()).select_from(rollout_batches)).scalar_one() == 2


def test_what_cannot_be_counted_is_refused_with_the_way_out(rollout: Rollout, client: Client, url: str) -> None:
    client.observe(rollout.id, ASKED)
    with pytest.raises(RequestIdReused, match="give each batch a name of its own"):
        client.observe(rollout.id, ASKED.model_copy(update={"reporter": "server-2"}))
    again = ASKED.model_copy(update={"reporter": "server-3"}).model_dump_json(by_alias=True)
    headers = AS_DEBUG | {"Content-Type": "application/json"}
    answer = httpx.post(f"{url}/ai-infra/rollouts/{rollout.id}/observations", content=again, headers=headers)
    assert (answer.status_code, "Idempotency-Key" in answer.text, "request_id_reused" in answer.text) == (422, False, True)
    with pytest.raises(BadInput, match="counts requests"):
        client.observe(rollout.id, ASKED.model_copy(update={"counts": (), "users": (ObservedUser(user="0" * 16, arm=Arm.CHAMPION),)}))
    with pytest.raises(NotFound, match="There is no rollout"):
        client.observe(uuid4(), ASKED)
    with Client(url) as nobody, pytest.raises(Unauthenticated):
        nobody.observe(rollout.id, ASKED)


def test_the_largest_batch_of_users_fits_into_a_body(rollout: Rollout, client: Client) -> None:
    users = tuple(
        ObservedUser(user=f"{number:016x}", arm=Arm.CHALLENGER, failed=True, labelled=True, wrong=True, slowest=160)
        for number in range(MOST_OBSERVED)
    )
    with pytest.raises(BadInput, match="counts requests"):  # it was read
        client.observe(rollout.id, ASKED.model_copy(update={"counts": (), "users": users}))
