"""Jobs that wait are run: by our own runner, by a Prefect deployment, or by an executor of the user's own. All end the same way.

    run         the runner: a process's work until it is told to stop
    hand_over   give a job to the configured Prefect deployment, right after it was asked for
    reconcile   see that every job given to Prefect is really being run

    runner        the loop: claims, works in parallel, takes back what was lost, drains
    work          one claimed job from its claim to its registration, its lease kept alive
    handing_over  jobs as runs of a Prefect deployment
    executors     claim, heartbeat, release, complete, fail for executors that are not ours

How a training is run and recorded is in `jobs`, whose a lease is in `registry.leases`.
"""

from aiinfra_core.running.handing_over import hand_over, reconcile
from aiinfra_core.running.runner import run

__all__ = ["hand_over", "reconcile", "run"]
