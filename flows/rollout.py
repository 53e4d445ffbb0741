"""Look at the rollouts that are open: a challenger earns more traffic, goes back, or waits for more evidence."""

from prefect import flow

from flows.looks import RoundOutcome, looked_at
from tasks.announcing import announce_looks
from tasks.publication import publish_history
from tasks.rollout import look_at_rollouts, next_look
from tasks.summaries import summarise_looks


@flow(name="rollout")
def rollout() -> RoundOutcome:
    """Look once at every open rollout that is due, and do what the evidence says; by hand, on and on until none is open."""
    looked = look_at_rollouts()
    summarise_looks(looked)
    announce_looks(looked)
    publish_history()
    return looked_at(looked, next_look())


if __name__ == "__main__":
    from flows.command_line import looking as options
    from flows.laptop import main

    main(rollout, options, again=lambda outcome: outcome.next_due)
