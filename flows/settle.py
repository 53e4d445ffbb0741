"""Carry on promotions whose time came, where neither a service nor `aiinfra audit run` does it all the time."""

from prefect import flow

from flows.outcomes import SettlingOutcome, settled
from tasks.promotion import settle_waiting
from tasks.publication import publish_history


@flow(name="settle")
def settle() -> SettlingOutcome:
    """End promotions that waited too long for people or were overtaken, and apply those that nobody is missing for."""
    promotions = settle_waiting()
    publish_history()
    return settled(promotions)


if __name__ == "__main__":
    from flows.command_line import settling as options
    from flows.laptop import main

    main(settle, options)
