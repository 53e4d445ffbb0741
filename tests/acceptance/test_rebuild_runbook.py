"""docs/runbooks/rebuild.md, carried out: its commands, in their order, on an empty database."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core.settings import Settings
from tests.simulators.lost_database import NOT_REBUILT, Lost, all_rows, lost

__all__ = ["lost"]

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbooks" / "rebuild.md"


def _environment(settings: Settings, url: str, archive: str, tmp_path: Path) -> dict[str, str]:
    assert settings.signer_key_b64 is not None
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ARCHIVE": archive,
        "AI_INFRA_HOME": str(tmp_path / "home"),
        "AI_INFRA_DATABASE_URL": url,
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_AUDIT_SINKS": archive,
    }


@pytest.mark.slow
def test_the_runbook_brings_a_lost_database_back(lost: Lost, empty_database_url: str, tmp_path: Path) -> None:
    commands = re.findall(r"^ *```sh\n(.*?)^ *```", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    assert [line.split()[1:3] for block in commands for line in block.splitlines()] == [
        ["migrate"],
        ["migrate", "--roles"],
        ["audit", "rebuild"],
        ["audit", "verify"],
        ["audit", "deliver"],
    ]
    environment = _environment(lost.before, empty_database_url, lost.address, tmp_path)
    script = "set -eux\n" + "\n".join(commands)
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rebuilt = lost.empty.model_copy(update={"database_url": Settings(AI_INFRA_DATABASE_URL=empty_database_url).database_url})
    before, after = all_rows(lost.before), all_rows(rebuilt)
    assert {name for name in before if before[name] != after[name]} <= NOT_REBUILT | {"audit_checkpoints"}
    assert len(after["audit_events"]) == len(before["audit_events"]) > 0
