"""Serving what was promoted, and nothing else: which model answers a request, its verified bytes, and what came of it.

    with Serving.from_environment("rain", "prod") as serving:
        chosen = serving.choose(user)
        answer = model_at(chosen.path).predict(question)
        serving.report(chosen, failed=False, seconds=0.012)

It asks the service in the background and knows no database and no Prefect. While the service is away, the last routing that verified
goes on until it expires, and after that the champion alone.

    answering   `Serving`: polling, choosing, what holds while something is wrong
    choosing    which arm a unit goes to; pure
    verified    bytes on this machine's disk, verified before their path is handed over
    kept        the last routing that was accepted, for the next start
    standing    what is served now and what is wrong, for those who watch
    outcomes    what came of requests, counted and reported once
    pulling     the same, once, without a process that stays
"""

from aiinfra_core.serving.answering import Serving
from aiinfra_core.serving.choosing import Chosen, Served
from aiinfra_core.serving.standing import Standing
from aiinfra_core.serving.trusted import pinned

__all__ = ["Chosen", "Served", "Serving", "Standing", "pinned"]
