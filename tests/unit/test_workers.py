"""What processes of a verification are told."""

from pathlib import Path

from aiinfra_core.audit_log.checking.workers import Setting


def test_the_address_with_its_password_is_in_no_repr() -> None:
    setting = Setting("postgresql://ada:hunter2@host/data", "role", "snapshot", "trust", Path("verified"))
    assert "hunter2" not in repr(setting)
