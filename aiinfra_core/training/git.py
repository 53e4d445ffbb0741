"""Runs git in a way nobody's configuration, hooks, prompts or helpers can influence.

What is asked of git, and what its failures mean, is in `code`.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from aiinfra_core.errors import Misconfigured, Unavailable

ALLOWED_TRANSPORTS = "file:https:ssh"
TIMEOUT_SECONDS = 600

_HANDED_DOWN = ("PATH", "SSH_AUTH_SOCK", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OVERRULED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "credential.helper=",
    "gc.auto=0",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
)


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git in a folder and return what it said, whatever its exit code.

    Raises:
        Misconfigured: git is not installed.
        Unavailable: git gave no answer within `TIMEOUT_SECONDS`.
    """
    try:
        return subprocess.run(  # noqa: S603 - no shell; callers put `--` before anything a user wrote
            command(folder, *arguments),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise Misconfigured("git is not installed or not on the PATH; install git.") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable("code", f"git gave no answer within {TIMEOUT_SECONDS} seconds; try again later.") from error


def command(folder: Path, *arguments: str) -> Sequence[str]:
    """Return the command line for git in a folder, with the settings that could run something overruled."""
    return ["git", "-C", str(folder), *(part for setting in _OVERRULED for part in ("-c", setting)), *arguments]


def environment() -> dict[str, str]:
    """Return the environment git runs in: built from nothing, so no `GIT_*` variable or configuration of ours leaks in."""
    return {name: os.environ[name] for name in _HANDED_DOWN if name in os.environ} | {
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": ALLOWED_TRANSPORTS,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=15",
    }
