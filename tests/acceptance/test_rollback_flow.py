"""The flow that goes back: through the steps of a promotion, away from an open rollout, and once however often a run is tried."""

from typing import Any

import pytest
from prefect import State

from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.settings import Settings
from flows.rollback import rollback
from tests.simulators import approvers
from tests.simulators.open_rollouts import SPEC, now, pointer_of, promoted
from tests.simulators.open_rollouts import rolling_out as rollout_of

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]
REQUEST = RollbackRequest(model="rainfall", environment="prod", reason="it lost the coast", requested_by="olga")


def test_a_run_ends_the_open_rollout_and_the_next_one_goes_back_to_the_version_before(settings: Settings) -> None:
    for name in ("one", "two"):
        promoted(settings, approvers.registered(settings, name))
    rollout = rollout_of(settings, promoted(settings, approvers.registered(settings, "three"), rollout=SPEC))
    sent_back: State[Any] = rollback(REQUEST, return_state=True)
    assert (sent_back.name, now(settings, rollout).status) == ("RolledBack", "rolled_back")
    assert str(sent_back.result()) == "rainfall:3 was sent back; all traffic of prod goes to what was current all along"
    went: State[Any] = rollback(REQUEST, return_state=True)
    assert (went.is_completed(), str(went.result())) == (True, "back: rainfall:1 to prod: applied")
    assert pointer_of(settings, rollout).sequence == 3
    again = REQUEST.model_copy(update={"to": 2, "request_id": "oncall"})
    assert rollback(again) == rollback(again)
    assert pointer_of(settings, rollout).sequence == 4
