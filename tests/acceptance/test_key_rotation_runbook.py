"""The commands of docs/runbooks/key_rotation.md, typed in their order into a shell, in an installation made as it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core import trust_directory
from aiinfra_core.domain.trust import TrustedKey

PROJECT = Path(__file__).parents[2]
RUNBOOK = (PROJECT / "docs" / "runbooks" / "key_rotation.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
BEFORE = """
aiinfra init --production --out production --log models.example/audit
printf "AI_INFRA_DATABASE_URL='%s'\\nAI_INFRA_ARTIFACT_ROOT='%s'\\n" "$DATABASE" "file://$PWD/artifacts" >> production/production.env
set -a; . production/production.env; set +a
echo '{}' > model.json
aiinfra register --model rain model.json
aiinfra promote rain --to staging --metric quality=0.9
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_runbook_works_in_its_order(database_url: str, tmp_path: Path) -> None:
    script = "\n".join(("set -euxo pipefail", BEFORE, *BLOCKS))
    environment = {**os.environ, "DATABASE": database_url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    found = trust_directory.opened(tmp_path / "production" / "trust" / "1.root.json")
    keys = {key.signer_id: key for key in found.trust.keys}
    assert keys["audit"].valid_until is not None
    assert (_bad_from(keys["promotion"]) or 0) > 0
    assert (_bad_from(keys["promotion-2"]), keys["audit-2"].valid_until) == (None, None)
    assert (found.root_version, found.targets_version) == (5, 7)
    published = {path.name for path in (tmp_path / "artifacts" / "trust").iterdir()}
    assert {"1.root.json", "5.root.json", "7.targets.json"} <= published


def test_the_runbook_has_commands() -> None:
    assert len(BLOCKS) >= 9


def _bad_from(key: TrustedKey) -> int | None:
    return key.compromise.bad_from_index if key.compromise else None
