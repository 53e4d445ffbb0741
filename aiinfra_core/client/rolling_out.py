"""What the client asks about rollouts: which there are, by which looks they are judged, and what people may order."""

from collections.abc import Iterator
from uuid import UUID

from aiinfra_core.client.answers import page_of_html
from aiinfra_core.client.calls import BELOW, Calls, checked, new_key, query, segment
from aiinfra_core.client.connection import Question
from aiinfra_core.domain.rollout import Action
from aiinfra_core.wire.observations import AskedObservations, SentObservations
from aiinfra_core.wire.rollouts import AskedAdvance, AskedOrder, SentLook, SentRollout, SentRolloutDetails


class RollingOut(Calls):
    """Rollouts."""

    def rollouts(
        self, *, environment: str | None = None, model: str | None = None, only_open: bool = False, page_size: int = 100
    ) -> Iterator[SentRollout]:
        """Give the rollouts that match all of it, newest first."""
        wanted = query(limit=page_size, environment=environment, model=model, open="true" if only_open else None)
        return self._pages(SentRollout, f"{BELOW}/rollouts", wanted)

    def rollout(self, rollout_id: UUID | str, *, most_looks: int = 500) -> SentRolloutDetails:
        """Return a rollout with its orders and looks; of more looks than `most_looks` (at most 1000) so many, evenly chosen.

        Raises:
            NotFound: there is no such rollout.
        """
        return self._read(SentRolloutDetails, _path(rollout_id), query(limit=most_looks))

    def looks(self, rollout_id: UUID | str, *, after: int = 0) -> Iterator[SentLook]:
        """Give every look at a rollout after one, in order, with what was asked of each signal.

        Raises:
            NotFound: there is no such rollout.
        """
        while True:
            found = self._read(SentRolloutDetails, _path(rollout_id), query(after=after, limit=1000))
            yield from found.looks
            if not found.looks or found.looks[-1].number >= found.rollout.looks:
                return
            after = found.looks[-1].number

    def order_rollout(
        self, rollout_id: UUID | str, action: str, *, reason: str, step: int | None = None, request_id: str | None = None
    ) -> SentRollout:
        """Order something about a rollout and return it as it stands then: `pause`, `resume`, `advance` or `abort`.

        What stands so already stays so; to abort returns all traffic to what is current. To advance skips the evidence of the `step` that
        was seen, from 0, which only this order takes and needs; the rollout is looked at before.

        Raises:
            NotFound: there is no such rollout.
            Conflict: it has ended, perhaps by that look.
            Outdated: it is at another step.
            Forbidden: people had to agree to its promotion, and who asked for that may not have it advance.
        """
        path, said = f"{_path(rollout_id)}/{segment(action)}", {"reason": reason} | ({} if step is None else {"step": step})
        body = checked(AskedAdvance if action == Action.ADVANCE else AskedOrder, **said)
        return self._write(SentRollout, path, body, key=request_id or new_key(), takes_long=True)

    def rollout_page(self, rollout_id: UUID | str) -> str:
        """Return the HTML page that shows a rollout with the plot of its evidence."""
        answer = self._connection.ask(Question("GET", f"{_path(rollout_id)}/page"))
        return page_of_html(answer, self._connection.url)

    def observe(self, rollout_id: UUID | str, batch: AskedObservations) -> SentObservations:
        """Report what was observed in one step of a rollout; a batch counts once, however often it is sent.

        Raises:
            NotFound: there is no such rollout.
            RequestIdReused: another batch was sent under this name.
        """
        return self._write(SentObservations, f"{_path(rollout_id)}/observations", batch, key=None)


def _path(rollout_id: UUID | str) -> str:
    return f"{BELOW}/rollouts/{segment(rollout_id)}"
