"""How the demo talks and what it does outside the product: a line, a chapter, a repository, one changed byte, a typed command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("train.py", "evaluate.py", "serve.py", "rainfall.parquet", "held_out.parquet", "README.md")
AUTHOR = {"NAME": "AI & Infrastructure demo", "EMAIL": "demo@example.org", "DATE": "2026-01-01T00:00:00Z"}


def committed_example(folder: Path) -> str:
    """Copy the example into a repository with a fixed author and date, so that a dirty checkout does not matter."""
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    for name in FILES:
        shutil.copyfile(HERE / name, folder / name)
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message=The rainfall example")
    return f"{folder}@{git(folder, 'rev-parse', 'HEAD')}"


def git(folder: Path, *arguments: str) -> str:
    """Run git with nobody's configuration and return what it printed."""
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in AUTHOR.items()}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=environment, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


@contextmanager
def one_byte_changed(path: Path) -> Iterator[None]:
    """Flip one byte of a file for the length of a block, leaving the file as it was."""
    content, mode = path.read_bytes(), path.stat().st_mode
    try:
        path.chmod(0o600)
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        yield
    finally:
        path.write_bytes(content)
        path.chmod(mode)


def aiinfra(*words: str, env: dict[str, str] | None = None, code: int = 0) -> str:
    """Run the command line as a person would and return what it printed; any other exit code ends the demo."""
    command = [str(Path(sys.executable).with_name("aiinfra")), *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    expect(done.returncode == code, f"aiinfra {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def expect(holds: bool, otherwise: str) -> None:
    """End the demo with exit code 1 when something it promises does not hold."""
    if not holds:
        print(f"\nThe demo found what must not be: {otherwise}", file=sys.stderr)
        sys.exit(1)


def heading(text: str) -> None:
    """Print the title of a chapter."""
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    """Print one line of the story."""
    print(f"   {text}", flush=True)
