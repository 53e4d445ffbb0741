"""Go back twice, once with a rollout open, in a forked child that is killed as `killed_at` says; started by test_killed_rollback."""

from aiinfra_core import rolling_back
from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.settings import Settings
from tests.faults import killed_at
from tests.simulators import approvers
from tests.simulators.open_rollouts import SPEC, promoted


def story(settings: Settings) -> None:
    """Go back from version 2 to 1; then, while 3 is rolled out, away from it and to 2, which is named."""
    for name in ("one", "two"):
        promoted(settings, approvers.registered(settings, name))
    _go_back(settings, "first")
    promoted(settings, approvers.registered(settings, "three"), rollout=SPEC)
    _go_back(settings, "second", to=2)


def _go_back(settings: Settings, request_id: str, to: int | None = None) -> None:
    asked = RollbackRequest(model="rainfall", environment="prod", to=to, reason="worse", requested_by="olga", request_id=request_id)
    rolling_back.roll_back(settings, asked)


if __name__ == "__main__":
    killed_at.main(story)
