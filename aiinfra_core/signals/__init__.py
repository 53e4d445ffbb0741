"""What the signals of a rollout say where others are asked: Prometheus, or a database of the operator's.

Whatever happens there, a signal gives a reading, within AI_INFRA_SIGNAL_SECONDS: counts since the step began, or why there are none.
What serving processes report to this service is read in `registry.observations`.

    readings    what counts can be believed, for every source
    filling     the placeholders of the operator's queries
    prometheus  asking Prometheus; `counters` and `buckets` say what its samples mean
    database    asking a database
"""

from datetime import datetime

from aiinfra_core.domain.rollout import Reading, Rollout
from aiinfra_core.domain.rollout_spec import SignalSpec, SourceKind
from aiinfra_core.settings import Settings


def read(settings: Settings, rollout: Rollout, signal: SignalSpec, previous: Reading | None, at: datetime) -> Reading:
    """Ask for the counts of a signal since the step of an open rollout began; `previous` is the last reading of it in this step.

    A latency that is not frozen yet is `warming_up`; as soon as enough was seen, its `seconds` is what is to be frozen.
    """
    if signal.query is not None and signal.query.kind is SourceKind.PROMETHEUS:
        from aiinfra_core.signals import prometheus

        return prometheus.read(settings, rollout, signal, signal.query, previous, at)
    from aiinfra_core.signals import database  # loads the driver, which most never need

    return database.read(settings, rollout, signal, previous, at)
