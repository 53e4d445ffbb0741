"""How a process that serves stands, for those who watch it."""

from dataclasses import dataclass

from aiinfra_core.serving.choosing import Served


@dataclass(frozen=True)
class Standing:
    """What is served: by which routing, whether traffic is shared with a challenger now, and what is wrong, None for nothing.

    `reporting` is why outcomes were not taken the last time, or why what is open is not written down. `unanswered` is how many
    requests this process counted as failed because no outcome came: its own, and those of processes that are gone.
    """

    champion: Served | None
    challenger: Served | None
    sequence: int
    changes: int
    problem: str | None
    reporting: str | None
    batches_waiting: int
    batches_given_up: int
    unanswered: int
