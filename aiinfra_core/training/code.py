"""Training code by commit: pins a work tree to one, and puts exactly one commit's files into a clean directory.

How git is run is in `git`, how a tree becomes files in `git_tree`.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import urlsplit

from aiinfra_core.errors import AiInfraError, BadInput, Misconfigured, NotFound, Unavailable
from aiinfra_core.training import git, git_tree

_PINNED = re.compile(r"(?P<location>[^\s@-]\S*)@(?P<commit>[0-9a-f]{40})")
_LOOKS_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[^/]*@[^/]*:")
_SSH_SHORT_FORM = re.compile(r"[A-Za-z0-9_][\w.-]*@[A-Za-z0-9][\w.-]*:[^:\s]+")
_NEEDS_FULL_FETCH = ("unadvertised object",)
_SAYS_UNKNOWN = ("not our ref", "no such remote ref", "couldn't find remote ref", "bad object")
_SAYS_REFUSED = (
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "could not read Username",
    "Authentication failed",
    "Permission denied",
    "Host key verification failed",
)


@dataclass(frozen=True)
class Checkout:
    """One commit's files as they were put into a directory; `committed_at` is in seconds since 1970."""

    repository: str
    commit: str
    committed_at: int


def pin(code: str) -> str:
    """Return `ABSOLUTE_PATH@COMMIT` for `PATH` or `PATH@HEAD` of a clean git work tree; a pinned reference stays as it is.

    Raises:
        BadInput: no repository, no commit, uncommitted changes, or a URL that names no commit.
        NotFound: there is no such folder.
    """
    if _PINNED.fullmatch(code):
        return code
    location = code.removesuffix("@HEAD")
    if _LOOKS_REMOTE.match(location):
        raise BadInput("A git URL must be pinned to a commit: write URL@COMMIT with all 40 hex digits.")
    folder = Path(location).expanduser().resolve()
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}; name a git work tree, or PATH@COMMIT with all 40 hex digits.")
    _check_is_top(folder)
    _check_is_clean(folder)
    head = git.run(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.returncode:
        raise BadInput(f"{folder} has no commit yet; commit the training code first.")
    if any(character.isspace() for character in str(folder)):
        raise BadInput(f"The path {str(folder)!r} holds a space, which a code reference cannot; move the repository.")
    return f"{folder}@{head.stdout.decode().strip()}"


def checkout(code_ref: str, destination: Path) -> Checkout:
    """Put exactly the files of a pinned commit into a new directory, without a `.git`, filters, hooks or submodules.

    Args:
        code_ref: `PATH@COMMIT` or `URL@COMMIT` (https, ssh or file; `git+` may stand in front), the commit as 40 hex digits.
        destination: must not exist; nothing is left there when this fails.

    Raises:
        BadInput: not pinned, a transport that is not allowed, a password in the URL, an unknown commit or a link that leads outside.
        NotFound: there is no such local repository.
        Unavailable: `code`, the repository could not be reached.
    """
    location, commit = _parsed(code_ref)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".git-", dir=destination.parent) as temporary:
        repository = Path(temporary)
        _fetch(repository, location, commit)
        try:
            git_tree.write(repository, commit, destination)
        except (AiInfraError, OSError):
            shutil.rmtree(destination, ignore_errors=True)
            raise
        committed_at = _checked(git.run(repository, "log", "-1", "--format=%ct", commit))
    return Checkout(location, commit, int(committed_at))


def _check_is_top(folder: Path) -> None:
    top = git.run(folder, "rev-parse", "--show-toplevel")
    if top.returncode:
        raise BadInput(_why_no_work_tree(folder, _said(top)))
    found = Path(top.stdout.decode(errors="replace").rstrip("\n"))
    if found.resolve() != folder:
        raise BadInput(f"{folder} is a folder inside the repository {found}; name {found}, and the entry point by its path in it.")


def _why_no_work_tree(folder: Path | str, said: str) -> str:
    if "dubious ownership" in said:
        return f"The repository {folder} belongs to another user; give it to the user who runs this."
    return f"{folder} is no git work tree; put the training code under git (git init, git add, git commit)."


def _check_is_clean(folder: Path) -> None:
    changes = _checked(git.run(folder, "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=none"))
    if changes:
        first = changes.split("\0")[0]
        raise BadInput(f"{folder} holds changes that no commit has, such as {first[3:]!r}; commit or stash them, or name PATH@COMMIT.")


def _parsed(code_ref: str) -> tuple[str, str]:
    pinned = _PINNED.fullmatch(code_ref)
    if not pinned:
        raise BadInput("The code reference is not pinned; write PATH@COMMIT or URL@COMMIT with all 40 hex digits.")
    location = pinned["location"].removeprefix("git+")
    if not _LOOKS_REMOTE.match(location):
        return str(Path(location).resolve()), pinned["commit"]
    if not _SSH_SHORT_FORM.fullmatch(location):
        _check_url(location)
    return location, pinned["commit"]


def _check_url(location: str) -> None:
    try:
        url = urlsplit(location)
    except ValueError as error:
        raise BadInput("The code reference holds a URL that cannot be read; check it.") from error
    if url.scheme not in git.ALLOWED_TRANSPORTS.split(":") or not location.startswith(f"{url.scheme}://"):
        raise BadInput(f"Code is fetched over https, ssh or file only, not {url.scheme}; name another URL or a local path.")
    if url.password or (url.username and url.scheme != "ssh"):
        raise BadInput("The code URL holds a user name or password, which would be recorded; use ssh keys or a local path instead.")


def _fetch(repository: Path, location: str, commit: str) -> None:
    _checked(git.run(repository, "init", "--quiet", "--bare", "--template=", "."))
    if location.startswith("/") and not Path(location).is_dir():
        raise NotFound(f"There is no repository at {location}; check the path.")
    fetched = git.run(repository, "fetch", "--quiet", "--no-tags", "--depth=1", "--", location, commit)
    if fetched.returncode and _mentions(_said(fetched), _NEEDS_FULL_FETCH):
        fetched = git.run(repository, "fetch", "--quiet", "--no-tags", "--", location, "+refs/*:refs/*")
    if fetched.returncode:
        raise _why_not_fetched(location, commit, _said(fetched))
    if _said_kind(repository, commit) != "commit":
        raise _unknown(location, commit)


def _why_not_fetched(location: str, commit: str, said: str) -> AiInfraError:
    if _mentions(said, _SAYS_UNKNOWN):
        return _unknown(location, commit)
    if location.startswith(("/", "file://")):
        return BadInput(_why_no_work_tree(location, said))
    if _mentions(said, _SAYS_REFUSED):
        return BadInput(f"The repository {location} does not exist or is not open to this user; check the URL and the ssh key.")
    return Unavailable("code", f"The repository {location} could not be reached ({said}); try again later.")


def _unknown(location: str, commit: str) -> BadInput:
    return BadInput(f"The repository {location} has no commit {commit}; push it, or name one it has.")


def _said_kind(repository: Path, commit: str) -> str:
    return git.run(repository, "cat-file", "-t", commit).stdout.decode().strip()


def _mentions(said: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in said for phrase in phrases)


def _said(result: "CompletedProcess[bytes]") -> str:
    return " ".join(result.stderr.decode(errors="replace").split())[-500:]


def _checked(result: "CompletedProcess[bytes]") -> str:
    if result.returncode:
        raise Misconfigured(f"git does not work here: {_said(result) or 'it gave no reason'}; check the installation of git.")
    return result.stdout.decode(errors="replace")
