"""Roll out two models beside their champions, in a forked child that is killed as `killed_at` says; started by test_killed_rollout.

One earns all traffic, with a pause on the way, the other goes back. Whatever is reported has the same name each time.
"""

from uuid import UUID, uuid5

from aiinfra_core import rolling_out
from aiinfra_core.domain.rollout import OPEN, Action, Rollout
from aiinfra_core.settings import Settings
from tests.faults import killed_at
from tests.simulators import open_rollouts
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE

_NAMES = UUID("5f0c3f52-6b1a-4a57-9a3e-6d1f2f9f7a11")
SEEN = {"rainfall": LIKE_IT, "snow": {0: WORSE}}


def story(settings: Settings) -> None:
    """Look at what is due next, as if time had passed, until both rollouts have ended."""
    both = {model: open_rollouts.begun(settings, SPEC, model) for model in SEEN}
    _pause_for_a_while(settings, both["rainfall"])
    while due := rolling_out.next_due(settings):
        for model, begun in both.items():
            rollout = open_rollouts.now(settings, begun)
            if rollout.status in OPEN:
                open_rollouts.observe(settings, rollout, SEEN[model][rollout.step], batch=uuid5(_NAMES, f"{model} {rollout.step}"))
        rolling_out.look_round(settings, due)


def _pause_for_a_while(settings: Settings, rollout: Rollout) -> None:
    for action in (Action.PAUSE, Action.RESUME):
        rolling_out.order(settings, rollout.id, action, reason="wait", ordered_by="olga", request_id=action)


if __name__ == "__main__":
    killed_at.main(story)
