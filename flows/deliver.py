"""Deliver the audit log to its sinks, where no `aiinfra audit run` does it all the time."""

from prefect import flow

from flows.outcomes import DeliveryOutcome, delivered
from tasks.delivery import deliver_history


@flow(name="deliver")
def deliver(at_once: bool = False) -> DeliveryOutcome:
    """Deliver to every sink what it has not been given yet; a sink that is down fails the run and holds no other.

    Args:
        at_once: do not wait for the time of a failing sink's next try.
    """
    return delivered(deliver_history(at_once))


if __name__ == "__main__":
    from flows.command_line import delivery as options
    from flows.laptop import main

    main(deliver, options)
