"""The command line against a service (`--server`): the same story, output and exit codes as on the machine itself."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from aiinfra_core import running
from aiinfra_core.cli import parts
from aiinfra_core.settings import Settings
from tests.factories import CONTAINER
from tests.simulators import command_line, scripted_server, sentinelnet
from tests.simulators.command_line import Run, train_line
from tests.simulators.http_story import open_to_debug, stored
from tests.simulators.service import AS_DEBUG, serving

UNKNOWN = "6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11"
installation, repository, run = command_line.installation, command_line.repository, command_line.run


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve, and let the environment say who asks; nothing of the service's own settings is in it."""
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
    with serving(settings) as url:
        yield url


@pytest.fixture
def runner(settings: Settings) -> Iterator[None]:
    stop = Event()
    thread = Thread(target=running.run, args=(settings, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def runner_after(settings: Settings) -> Iterator[Event]:
    """Give what starts a runner, two seconds after it is set."""
    begin, stop = Event(), Event()

    def later() -> None:
        begin.wait()
        if not stop.wait(2):
            running.run(settings, stop)

    thread = Thread(target=later)
    thread.start()
    yield begin
    stop.set()
    begin.set()
    thread.join()


def register_line(settings: Settings, folder: Path, content: str = "weights", model: str = "rain") -> str:
    kept = stored(settings, folder, content)
    return f"register --model {model} --uri {kept['artifactUri']} --checksum {kept['checksum']}"


def test_a_model_goes_from_code_to_production_at_a_service(
    server: str, runner: None, settings: Settings, run: Run, repository: Path
) -> None:
    at = f" --server {server}"
    trained = run(train_line(repository, "--param depth=3") + at)
    assert (trained.code, trained.out.splitlines()[0]) == (0, "rain: completed"), trained.err
    job = re.search(r"Next: aiinfra register (\S+)", trained.out)
    assert job is not None
    assert re.search(rf"  \| job {job[1]} is completed", trained.err)
    registered = run(f"register {job[1]}{at}")
    assert (registered.code, registered.out.splitlines()[0]) == (0, "rain:1 is registered"), registered.err
    assert registered.out.splitlines()[-1] == "Next: aiinfra promote rain:1 --to staging"
    promoted = run(f"promote rain --to staging{at}")
    assert (promoted.code, promoted.out.splitlines()[0]) == (0, "rain:1 is current in staging")
    assert "judged on   quality 0.9" in promoted.out
    assert "Next: aiinfra promote rain:1 --to prod" in promoted.out
    production = run(f"promote rain:1 --to production{at}")
    assert production.out.splitlines()[:1] == ["rain:1 is current in prod"], production.err

    verified = run(f"verify rain@production{at}")
    assert (verified.code, verified.out.splitlines()[-1]) == (0, "rain:1 verifies.")
    assert "prod, staging" in run(f"models list{at}").out
    shown = run(f"models show rain{at}").out
    assert "Current in: prod (sequence 1), staging (sequence 1)" in shown
    assert re.search(r"measured by its training +quality 0.9", shown)
    assert "rain: completed" in run(f"jobs show {job[1]}{at}").out
    assert re.search(r"rain +completed", run(f"jobs list{at}").out)


def test_here_and_there_print_the_same_json(
    server: str, installation: Settings, settings: Settings, run: Run, repository: Path, tmp_path: Path
) -> None:
    job = run(train_line(repository, "--json")).json
    run(f"register {job['id']}")
    run("promote rain --to staging")
    run(f"promote rain --to prod --metric quality=0.5 --server {server}")
    run(register_line(settings, tmp_path, "other"))
    for line in (
        f"jobs show {job['id']}",
        "jobs list",
        "models list",
        "models list rain --limit 1",
        "models show rain:1",
        "models show rain",
    ):
        here, there = run(f"{line} --json"), run(f"{line} --json --server {server}")
        assert (here.code, there.code, here.json) == (0, 0, there.json), line
    here, there = (run(f"verify rain:1 --json{at}").json for at in ("", f" --server {server}"))
    assert (here["verified"], here["artifact"]) == (True, there["artifact"])
    assert [(one["name"], one["passed"]) for one in here["steps"]] == [(one["name"], one["passed"]) for one in there["steps"]]
    assert run(f"register {job['id']} --json --server {server}").json == run("models show rain:1 --json").json["artifact"]


def test_a_no_is_exit_code_3_and_asked_again_the_recorded_no_is_told(server: str, settings: Settings, run: Run, tmp_path: Path) -> None:
    at = f" --server {server}"
    assert run(register_line(settings, tmp_path) + at).code == 0
    refused = run(f"promote rain --to prod --metric quality=0.5{at}")
    assert (refused.code, refused.out.splitlines()[0]) == (3, "rain:1 was refused for prod")
    assert "0.5 is below the required 0.8" in refused.out
    assert "asked before" not in refused.err
    again = run(f"promote rain --to prod --metric quality=0.5 --json{at}")
    assert (again.code, again.json["status"], again.json["sentinelDecision"]["allowed"]) == (3, "rejected", False)
    assert re.search(r"answered .* UTC; to ask anew, add --request-id NAME", again.err)
    anew = run(f"promote rain --to prod --metric quality=0.5 --json --request-id second{at}")
    assert anew.json["id"] != again.json["id"]
    applied = [run(f"promote rain --to prod --metric quality=0.9 --json{at}").json for _ in range(2)]
    assert (applied[0]["status"], applied[0]["id"]) == ("applied", applied[1]["id"])
    reused = run(f"promote rain --to staging --metric quality=0.9 --request-id second{at}")
    assert (reused.code, "choose a new one" in reused.error) == (2, True)


def test_a_gate_that_is_down_is_exit_code_4_and_the_same_command_asks_anew(
    settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
    with serving(settings.model_copy(update={"sentinel_url": scripted_server.unused_url()})) as url:
        run(f"{register_line(settings, tmp_path)} --server {url}")
        down = run(f"promote rain --to prod --metric quality=0.9 --server {url}")
        assert (down.code, "unavailable:sentinelnet" in down.out) == (4, True)
        assert "ask again with the same command" in down.out
    with sentinelnet.serve(sentinelnet.judges(0.8)) as gate, serving(settings.model_copy(update={"sentinel_url": gate.url})) as url:
        assert run(f"promote rain --to prod --metric quality=0.9 --server {url}").code == 0


def test_who_may_not_is_exit_code_8_and_the_token_is_not_told(server: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", "hunter2")
    failed = run(f"jobs list --server {server}")
    assert (failed.code, failed.out, "hunter2" in failed.err) == (8, "", False)
    assert "AI_INFRA_TOKEN, or AI_INFRA_DEBUG_TOKEN" in failed.error
    monkeypatch.setenv("AI_INFRA_TOKEN", "hunter2 and more")
    failed = run(f"jobs list --server {server}")
    assert (failed.code, "The token must be" in failed.error, "hunter2" in failed.err) == (6, True, False)


def test_a_training_that_fails_is_exit_code_7_and_one_that_nobody_waits_for_is_queued(
    server: str, run: Run, repository: Path, request: pytest.FixtureRequest
) -> None:
    queued = run(train_line(repository, f"--no-wait --server {server} --json", entry_point="fail.py"))
    assert (queued.code, queued.json["status"]) == (0, "queued")
    request.getfixturevalue("runner")
    failed = run(train_line(repository, f"--server {server}", entry_point="fail.py"))
    assert (failed.code, failed.out.splitlines()[0], queued.json["id"] in failed.out) == (7, "rain: failed", True)
    assert "the data has no rows" in failed.out


def test_versions_are_listed_in_pages_and_the_address_may_be_in_the_environment(
    server: str, settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_SERVER", server)
    for number in range(5):
        assert run(register_line(settings, tmp_path, str(number))).code == 0
    seen, line = [], "models list rain --limit 2"
    while line:
        shown = run(line)
        seen += re.findall(r"^rain:(\d)", shown.out, re.MULTILINE)
        following = re.search(r"Next: aiinfra models list (--after \S+)", shown.out)
        line = f"models list rain --limit 2 {following[1]}" if following else ""
    assert seen == ["5", "4", "3", "2", "1"]


def test_a_refusal_names_a_command_that_shows_why_and_that_a_service_takes(
    server: str, installation: Settings, run: Run, repository: Path
) -> None:
    derived = run(f"train --model rain --code {repository} --container-digest {CONTAINER} --seed 7 --json").json
    assert run(f"register {derived['id']} --server {server}").code == 0
    refused = run(f"promote rain --to prod --server {server}")
    next_line = rf"^Next: aiinfra (approvals page \S+) --out promotion.html --server {re.escape(server)}$"
    shows_why = re.search(next_line, refused.out, re.MULTILINE)
    assert (refused.code, shows_why is not None) == (3, True)
    assert shows_why and run(f"{shows_why[1]} --out {repository.parent / 'promotion.html'} --server {server}").code == 0
    assert "has no quality score" in (repository.parent / "promotion.html").read_text()
    why = re.search(r"^Next: aiinfra (policy explain \S+)$", run("promote rain --to prod").out, re.MULTILINE)
    assert why and "has no quality score" in run(why[1]).out


def test_where_reads_are_public_versions_are_listed_without_a_proof(
    settings: Settings, server: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(f"{register_line(settings, tmp_path)} --server {server}")
    assert "CURRENT IN" in run(f"models list --server {server}").out
    monkeypatch.delenv("AI_INFRA_DEBUG_TOKEN")
    listed = run(f"models list --server {server}")
    assert (listed.code, "rain:1" in listed.out, "CURRENT IN" in listed.out) == (0, True, False), listed.err
    assert run(f"models list --json --server {server}").json[0]["currentIn"] is None


def test_a_job_that_nobody_claims_says_once_what_to_start(
    server: str, run: Run, repository: Path, runner_after: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiinfra_core.client.writing.LONG_QUEUED_SECONDS", 0.3)
    monkeypatch.setattr("aiinfra_core.client.writing._LONGEST_POLL", 0.3)
    runner_after.set()
    trained = run(train_line(repository, f"--server {server}"))
    assert (trained.code, trained.err.count("nobody has claimed it: start aiinfra runner")) == (0, 1), trained.err


WRONG = [
    ("register --model rain {folder}", "cannot read {folder} on this machine"),
    ("register --model rain --uri file:///x --checksum zz", "This does not describe a registration: checksum"),
    ("register --model rain --uri file:///etc/passwd --checksum {zeros}", "artifact root"),
    ("register {unknown} --registered-by ada", "leave --registered-by out"),
    ("register {unknown}", "There is no training job"),
    ("jobs show {unknown}", "There is no training job"),
    ("models show rain", "Nothing is registered"),
    ("models show rain@moon", "There is no environment 'moon'"),
    ("promote rain --to prod --metric quality=1", "Nothing is registered"),
    ("verify", "where its database is"),
    ("evaluate rain", "aiinfra evaluate works on this machine's own installation and takes no --server"),
    ("audit verify", "aiinfra audit verify works on this machine's own installation and takes no --server"),
    ("migrate", "takes no --server"),
]


def test_what_was_typed_wrong_is_exit_code_2_and_one_line(server: str, run: Run, tmp_path: Path) -> None:
    words = {"folder": tmp_path, "unknown": UNKNOWN, "zeros": "0" * 64}
    for line, said in WRONG:
        failed = run(f"{line.format(**words)} --server {server}")
        assert (failed.code, failed.out) == (2, ""), line
        assert said.format(**words) in failed.error, line


def test_what_needs_the_machine_itself_is_not_done_here_while_a_service_is_named(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_SERVER", scripted_server.unused_url())
    for line in ("evaluate rain", "bom rain", "audit checkpoint", "export rain --out x"):
        failed = run(line)
        assert (failed.code, "AI_INFRA_SERVER names a service; unset it" in failed.error) == (2, True), line
    shown = run("status")
    assert (shown.code, "not the service that AI_INFRA_SERVER names" in shown.err) == (0, True)
    assert parts.running_parts(always_here=True).database_url == installation.database_url


def test_a_service_that_is_down_is_exit_code_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiinfra_core.cli.registry.PATIENCE_SECONDS", 0.3)
    failed = run(f"models list --server {scripted_server.unused_url()}")
    assert (failed.code, "check that the service runs" in failed.error) == (4, True)


def test_a_wrong_address_is_told_soon_and_in_words(server: str, run: Run) -> None:
    nobody, secured = scripted_server.unused_url(), server.replace("http", "https")
    for line, said in (
        (f"models list --server {nobody}", f"Nobody listens at {nobody}; check"),
        (f"models list --server {secured}", f"speaks no TLS; if plain HTTP answers there, write {server}"),
        (f"register --model rain --uri file:///x --checksum {'0' * 64} --server {secured}", "speaks no TLS"),  # a write, not sent again
        (f"models list --server {server}/nope", "HTTP 404 Not Found); check the address"),
    ):
        begun = time.monotonic()
        failed = run(line)
        assert (failed.code, said in failed.error, "Errno" in failed.err or "_ssl.c" in failed.err) == (4, True, False), failed.err
        assert time.monotonic() - begun < 6, line  # it is told in 3; other programs run here too
    first = run(f"--server {server} models list")
    assert (first.code, "--server comes after the command" in first.error) == (2, True)


def test_at_a_service_nothing_of_the_database_is_imported_and_no_home_is_made(server: str, home: Path) -> None:
    heavy = ("sqlalchemy", "psycopg", "s3fs", "fsspec", "prefect", "tuf", "fastapi", "cryptography")
    lines = [["models", "list"], ["jobs", "list"], ["verify", "rain"], ["promote", "rain", "--to", "prod"], ["register", UNKNOWN]]
    code = f"from aiinfra_core.cli import app; [app.main([*one, '--server', {server!r}]) for one in {lines}]"
    code += f"; import sys; print([one for one in {heavy} if one in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout.splitlines()[-1], home.exists()) == ("[]", False), told.stderr
