"""A process of its own that runs what it is asked with the settings of a test: one JSON line in, one out, for each run."""

import json
import subprocess
from typing import Any

from aiinfra_core.settings import Settings


def run_until(runner: subprocess.Popen[str], settings: Settings, at: int, **asked: Any) -> dict[str, Any]:
    """Ask for one run that is killed at its n-th step, 0 to let it end; return how it ended."""
    assert runner.stdin is not None
    assert runner.stdout is not None
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    environment = {
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_HOME": str(settings.home),
    }
    runner.stdin.write(json.dumps({"at": at, **asked, "environment": environment}) + "\n")
    runner.stdin.flush()
    return dict(json.loads(runner.stdout.readline()))
