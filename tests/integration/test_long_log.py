"""The long history that benchmarks are run on is a valid one."""

from sqlalchemy import func, select

from aiinfra_core import database, verifying
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import training_jobs
from tests.simulators.long_log import fill


def test_a_history_made_fast_is_whole_and_can_be_continued(settings: Settings) -> None:
    for count in (100, 30):
        fill(settings, count, audit_signer(settings))
    history = verifying.verify_history(settings)
    assert (history.events, history.findings) == (130, [])
    with database.transaction(settings) as tx:
        assert tx.execute(select(func.count()).select_from(training_jobs)).scalar_one() == 34 + 10
        assert tx.execute(select(func.max(audit_events.c.seq))).scalar_one() == 130
