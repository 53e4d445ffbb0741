"""Serving what was promoted, and nothing else: which model answers a request, its verified bytes, and what came of it.

    with Serving.from_environment("rain", "prod") as serving:
        with serving.answering(user) as chosen:
            answer = model_at(chosen.path).predict(question)

It asks the service in the background and knows no database and no Prefect. What holds while something is wrong:

- The service does not answer, or what it says does not verify: the last routing that verified goes on until it expires, then its champion
  alone, for as long as it takes.
- The keys of what goes on are no longer trusted: nobody is chosen any more.
- The challenger's bytes are not here yet, or not what was promoted: the champion alone, and nothing is counted for the rollout.
- A new champion's bytes are not what was promoted: what went on before goes on without a challenger, and it is tried again.

    answering   `Serving`: polling, choosing, what holds while something is wrong
    choosing    which arm a unit goes to; pure
    verified    bytes on this machine's disk, verified before their path is handed over
    kept        the last routing that was accepted, for the next start
    standing    what is served now and what is wrong, for those who watch
    outcomes    what came of requests, counted once
    outbox      batches of outcomes, sent until they are answered
    ledger      the requests that are open, in a file that outlives the process
    pulling     the same, once, without a process that stays
"""

from aiinfra_core.serving.answering import Serving
from aiinfra_core.serving.choosing import Chosen, Served
from aiinfra_core.serving.standing import Standing
from aiinfra_core.serving.trusted import pinned

__all__ = ["Chosen", "Served", "Serving", "Standing", "pinned"]
