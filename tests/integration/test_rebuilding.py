"""A lost database made again from the archive of its log; what was tampered with is refused, named, and nothing is left half done."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from aiinfra_core import database, rebuilding, rolling_out, verifying
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.columns import metadata
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import Verdict
from aiinfra_core.domain.trust import Compromise
from aiinfra_core.errors import Conflict, EvidenceBroken
from aiinfra_core.evidence import trust_editing
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import restoring
from aiinfra_core.settings import Settings
from aiinfra_core.tables import STATE_TABLES
from aiinfra_core.trusting import changing
from tests.simulators.exports import TARGETS_KEY, with_trust
from tests.simulators.lost_database import NOT_REBUILT, Lost, all_rows, ask, is_empty, lost
from tests.simulators.s3_servers import BUCKET, aws_credentials, rclone_endpoint

__all__ = ["aws_credentials", "lost", "rclone_endpoint"]


def test_a_rebuilt_database_equals_the_lost_one_row_for_row(lost: Lost) -> None:
    rebuilt = rebuilding.rebuild(lost.empty, lost.address)
    before, after = all_rows(lost.before), all_rows(lost.empty)
    for name in before.keys() - NOT_REBUILT:
        assert after[name] == before[name], name
        assert before[name], name
    assert rebuilt.head.seq == len(before["audit_events"])


def test_a_new_promotion_and_an_open_rollout_go_on_after_a_rebuild(lost: Lost) -> None:
    rebuilding.rebuild(lost.empty, lost.address)
    assert verifying.verify_history(lost.empty).findings == []
    promotion = ask(lost.empty, "rainfall:3", "staging", 0.95)
    assert promotion.status is PromotionStatus.APPLIED
    (looked,) = rolling_out.look_round(lost.empty, datetime.now(UTC) + timedelta(minutes=2))
    assert (looked.rollout.environment, looked.look and looked.look.verdict) == ("prod", Verdict.HOLD)
    history = verifying.verify_history(lost.empty)
    assert (history.findings, history.waiting) == ([], 0)


def test_a_rebuild_from_s3_reads_what_was_delivered_there(lost: Lost, aws_credentials: None, rclone_endpoint: str, tmp_path: Path) -> None:
    bucket = {"audit_sinks": (f"s3://{BUCKET}/{tmp_path.name}",), "s3_endpoint_url": rclone_endpoint}
    (done,) = deliver(lost.before.model_copy(update=bucket))
    assert (done.delivered, done.problem) == (len(lost.entries()), None)
    rebuilt = rebuilding.rebuild(lost.empty.model_copy(update=bucket), f"s3://{BUCKET}/{tmp_path.name}/")
    assert rebuilt.head.seq == done.delivered
    (again,) = deliver(lost.empty.model_copy(update=bucket))
    assert again.delivered == 0


def test_what_a_compromised_key_signed_comes_back_only_where_that_is_asked_for(lost: Lost) -> None:
    trusting = with_trust(lost.before)
    assert trusting.trust_root is not None
    stolen = Compromise(reported_at=datetime.now(UTC), reason="stolen", bad_from_index=3)
    (own,) = trust_of(trusting).keys
    changing.change(trusting.trust_root.parent, lambda trust: trust_editing.compromised(trust, own.keyid, stolen), TARGETS_KEY)
    into = lost.empty.model_copy(update={"trust_root": trusting.trust_root})
    with pytest.raises(EvidenceBroken, match=f"{own.keyid[:16]}.*compromised from log entry 3 on"):
        rebuilding.rebuild(into, lost.address)
    assert is_empty(lost.empty)
    rebuilding.rebuild(into, lost.address, compromised_keys=True)
    before, after = all_rows(lost.before), all_rows(lost.empty)
    assert {name: after[name] for name in before.keys() - NOT_REBUILT} == {name: before[name] for name in before.keys() - NOT_REBUILT}
    assert any("no trusted key" in finding.problem for finding in verifying.verify_history(into).findings)


def test_a_rebuild_that_is_killed_leaves_an_empty_database_and_begins_anew(lost: Lost) -> None:
    for share in (0.1, 0.5, 0.99):
        run = "import os, sys; from aiinfra_core import rebuilding; from aiinfra_core.settings import Settings\n"
        run += f"rebuilding.BATCH = 1; last = {round(share * len(lost.entries()))}\n"
        run += f"rebuilding.rebuild(Settings(), {lost.address!r}, on_progress=lambda events: events == last and os.kill(os.getpid(), 9))"
        assert lost.empty.database_url is not None
        assert lost.empty.signer_key_b64 is not None
        environment = {
            "AI_INFRA_DATABASE_URL": lost.empty.database_url.get_secret_value(),
            "AI_INFRA_SIGNER_KEY_B64": lost.empty.signer_key_b64.get_secret_value(),
            "AI_INFRA_SIGNER_ID": "test",
            "AI_INFRA_ARTIFACT_ROOT": str(lost.empty.artifact_root),
            "PATH": os.environ["PATH"],
        }
        assert subprocess.run([sys.executable, "-c", run], env=environment, cwd=Path(__file__).parents[2], timeout=60).returncode == -9
        assert is_empty(lost.empty)
    assert rebuilding.rebuild(lost.empty, lost.address).head.seq == len(lost.entries())


def test_every_table_is_rebuilt_or_known_not_to_be() -> None:
    log = {"audit_events", "audit_tiles", "audit_checkpoints"}
    kept_by_triggers = {"search_terms", "search_metrics"}
    assert {table.name for table in STATE_TABLES} | log | kept_by_triggers | NOT_REBUILT == set(metadata.tables)


def test_what_may_change_in_a_rebuild_is_what_the_role_may_change(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        granted = tx.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.column_privileges"
                " WHERE grantee = 'aiinfra_app' AND privilege_type = 'UPDATE'"
            )
        ).all()
    restored = {table.name for table in STATE_TABLES}
    assert {(table, column) for table, column in granted if table in restored} == {
        (table, column) for table, columns in restoring.CHANGING.items() for column in columns
    }


def test_somebody_who_writes_meanwhile_is_told_of_and_nothing_of_the_archive_stays(lost: Lost) -> None:
    def write(events: int) -> None:
        with database.transaction(lost.empty) as tx:
            tx.execute(
                text("INSERT INTO audit_events SELECT :seq, gen_random_uuid(), 'x', '{}', 'x', 'x', 'x', 'x', now(), now(), '{}', 1"),
                {"seq": events + 1},
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "BATCH", 10)
        with pytest.raises(Conflict, match="Something else writes"):
            rebuilding.rebuild(lost.empty, lost.address, on_progress=lambda events: write(events) if events == 10 else None)
    assert [len(rows) for name, rows in all_rows(lost.empty).items() if rows] == [1]
