"""Real git repositories with a fixed author and date, so that the same files always give the same commit."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

COMMITTED_AT = 1_700_000_000
_IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))},
    **{f"GIT_{who}_DATE": f"{COMMITTED_AT} +0000" for who in ("AUTHOR", "COMMITTER")},
}


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git as the fixed author and return what it printed."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=os.environ | _IDENTITY, input=stdin, capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode().strip()


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path) -> str:
    """Commit everything in a work tree, making the repository when it is none; return the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=files")
    return git(folder, "rev-parse", "HEAD")


def repository(folder: Path, files: Mapping[str, str | bytes]) -> str:
    """Make a repository of these files and return `PATH@COMMIT`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, files)
    return f"{folder}@{commit(folder)}"
