"""Measure `policy simulate` over 10,000 past promotions, in a process as a user has it; started by test_policy."""

import resource
import time

import psycopg

from aiinfra_core import simulating
from aiinfra_core.registry.past_promotions import Which
from aiinfra_core.rules import sandbox
from aiinfra_core.settings import Settings
from scripts.seed_registry import seed
from tests.benchmarks.registry_figures import durable, postgres_cpu
from tests.simulators.exports import trained

PROMOTIONS = 10_000
MOST_SECONDS = 20.0


def filled(settings: Settings) -> None:
    """Fill the database with promotions whose trainings have a provenance that can be read."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    seed(url, 5 * PROMOTIONS)
    trained(settings, "real")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE attestations DISABLE TRIGGER append_only")
        connection.execute(
            """UPDATE attestations SET envelope = (
                 SELECT signed.envelope FROM training_jobs AS job JOIN attestations AS signed ON signed.digest = job.attestation
                 WHERE job.model = 'real')
               WHERE digest IN (SELECT attestation FROM training_jobs)"""
        )
        connection.execute("ALTER TABLE attestations ENABLE TRIGGER append_only")
        connection.execute("VACUUM ANALYZE")


def measure(settings: Settings) -> None:
    """Print the figures."""
    for name in ("default", "strict"):
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = ended.ru_utime + ended.ru_stime
        own, theirs, began = time.process_time(), postgres_cpu(settings), time.perf_counter()
        found = simulating.simulate(settings.model_copy(update={"policy": name}), Which(), lambda *_: None)
        seconds, own, theirs = time.perf_counter() - began, time.process_time() - own, postgres_cpu(settings) - theirs
        sandbox.stop()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        rules = ended.ru_utime + ended.ru_stime - before
        assert found.replayed == PROMOTIONS, found.replayed
        print(  # noqa: T201
            f"\nsimulate {name:<8} {found.replayed} promotions in {seconds:5.1f} s "
            f"(CPU: Python {own:.1f}, rules {rules:.1f}, Postgres {theirs:.1f}), "
            f"{len(found.changed)} would change; seconds / {MOST_SECONDS:g}: {seconds / MOST_SECONDS:.2f}"
        )
    print(f"\nlargest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        filled(made_settings)
        measure(made_settings)
