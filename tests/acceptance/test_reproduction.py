"""The reproduce flow against a real Prefect server: how its runs end and what they show."""

from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from sqlalchemy import select

from aiinfra_core import database
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.errors import TrainingFailed
from aiinfra_core.settings import Settings
from aiinfra_core.tables import reproductions
from flows.outcomes import ReproductionOutcome
from flows.reproduce import reproduce
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]

pytestmark = pytest.mark.usefixtures("prefect_api")

NOISY = "put(text=str(time.time())); metrics.write_text(json.dumps({'quality': 0.9}))"


def _request(**changes: Any) -> ReproductionRequest:
    return ReproductionRequest(**{"artifact": "rows:1", "reproduced_by": "rosa", **changes})


def _shown(run: UUID | None) -> set[str | None]:
    assert run is not None
    with get_client(sync_client=True) as client:
        return {one.key for one in client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])))}


def test_a_run_is_named_after_what_came_out_and_is_one_reproduction(settings: Settings, trained: Trained) -> None:
    trained(NOISY)
    state: Any = reproduce(_request(), return_state=True)
    outcome = state.result()
    assert (state.is_completed(), state.name) == (True, "Different")
    assert isinstance(outcome, ReproductionOutcome)
    assert outcome.causes == ("time",)
    assert str(outcome) == "rows:1 reproduced: different (time)"
    assert _shown(state.state_details.flow_run_id) == {"rows-reproduction", "rows-causes"}
    with database.transaction(settings) as tx:
        assert tx.execute(select(reproductions.c.request_id)).scalars().all() == [f"reproduce:{state.state_details.flow_run_id}"]
    close: Any = reproduce(_request(tolerances={"quality": 0.1}), return_state=True)
    assert close.name == "WithinTolerance"


def test_the_same_bytes_end_identical_and_a_training_that_fails_fails_the_run(settings: Settings, trained: Trained) -> None:
    trained("there = Path(OUTSIDE, 'broken')\nif there.exists(): sys.exit('no rows')\nput()", model="steady")
    state: Any = reproduce(_request(artifact="steady"), return_state=True)
    assert (state.is_completed(), state.name) == (True, "Identical")
    (settings.home.parent / "outside" / "broken").touch()
    with pytest.raises(TrainingFailed, match="no rows"):
        reproduce(_request(artifact="steady"))
