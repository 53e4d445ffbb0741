"""What the process that judges policies can do, and what becomes of it; its own confinement is tried from inside, in a process like it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core.domain.promotion import Stage
from aiinfra_core.errors import Unavailable
from aiinfra_core.policy import local, sample
from aiinfra_core.rules import sandbox
from aiinfra_core.rules.document import Policy, Rule

NUMBERS = "[0,1,2,3,4,5,6,7,8,9]"
FOR_EVER = f"{NUMBERS}.all(a, " * 14 + "true" + ")" * 14
TOO_BIG = "['sixteen letters.']" + ".map(a, a + a)" * 40 + " != []"
YES = "1 < 2"


def policy(*expressions: str) -> Policy:
    rules = tuple(Rule(id=f"rule-{at}", expression=expression, reason="no") for at, expression in enumerate(expressions))
    return Policy(name="tried", version="1", allow_id="yes", deny_id="no", rules=rules)


@pytest.fixture
def judge() -> Iterator[int]:
    """Give the id of a process that judges, started for this test."""
    sandbox.stop()
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed
    pid = sandbox.process_id()
    assert pid is not None
    yield pid
    sandbox.stop()


def test_a_rule_that_takes_too_long_is_a_no_that_names_it_and_its_process_is_killed(judge: int) -> None:
    began = time.monotonic()
    decision = local.decide(policy(YES, FOR_EVER, YES), {}, Stage.REQUEST, 0.3)
    assert time.monotonic() - began < 5
    assert (decision.allowed, decision.rule_id, decision.unavailable) == (False, "rule-1", False)
    assert "it took longer than 0.3 s" in decision.reason
    assert decision.answer is not None
    assert [(rule["id"], rule["verdict"]) for rule in decision.answer["rules"]] == [(f"rule-{at}", "error") for at in (1, 0, 2)]
    assert not Path(f"/proc/{judge}").exists()
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed


def test_a_rule_that_needs_too_much_memory_is_a_no_that_names_it(judge: int) -> None:
    decision = local.decide(policy(YES, TOO_BIG), {}, Stage.REQUEST, 30)
    assert (decision.allowed, decision.rule_id) == (False, "rule-1")
    assert "broke down" in decision.reason
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed


def test_a_process_that_was_killed_is_replaced(judge: int) -> None:
    os.kill(judge, signal.SIGKILL)
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed
    assert sandbox.process_id() != judge


def test_a_process_that_is_killed_before_it_began_is_replaced_for_the_same_decision(judge: int) -> None:
    os.kill(judge, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, [judge, signal.SIGKILL]).start()
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed
    assert sandbox.process_id() != judge


def test_a_process_that_was_stopped_for_a_while_is_a_time_out(judge: int) -> None:
    os.kill(judge, signal.SIGSTOP)
    decision = local.decide(policy(YES), {}, Stage.REQUEST, 0.2)
    assert (decision.allowed, "it took longer" in decision.reason) == (False, True)


def test_what_ends_its_parent_does_not_end_a_decision_under_way(judge: int) -> None:
    for to_all in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(judge, to_all)
    assert os.getpgid(judge) == judge
    assert local.decide(policy(YES), {}, Stage.REQUEST, 10).allowed
    assert sandbox.process_id() == judge


def test_the_process_has_no_environment_nothing_open_and_a_filter_on_its_calls(judge: int) -> None:
    process = Path(f"/proc/{judge}")
    assert (process / "environ").read_bytes() == b""
    open_files = {file.name: str(file.readlink()) for file in (process / "fd").iterdir()}
    assert sorted(open_files) == ["0", "1", "2"]
    assert all(target.startswith("pipe:") for target in open_files.values())
    status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"].strip()) == ("1", "2")
    open_files_limit = next(line for line in (process / "limits").read_text().splitlines() if line.startswith("Max open files"))
    assert open_files_limit.split()[3:5] == ["0", "0"]


ATTEMPTS = (
    "open('/etc/hostname')",
    "open('/proc/self/environ')",
    "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "os.listdir('/')",
    "os.open('/tmp/policy', os.O_CREAT | os.O_WRONLY)",
    "os.stat('/')",
    "os.dup(0)",
    "socket.socket()",
    "socket.getaddrinfo(b'localhost', 80)",
    "os.fork()",
    "os.execv('/bin/true', ['true'])",
    "os.kill(os.getppid(), 0)",
    "threading.Thread(target=print).start()",
    "resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
    "bytearray(1 << 30)",
)


def test_nothing_but_calculating_is_left() -> None:
    program = f"""if True:
        import os, resource, socket, sys, threading
        sys.path.append({str(Path(sandbox.__file__).parents[2])!r})
        from aiinfra_core.rules import confinement, worker
        confinement.confine(worker.MEMORY_BYTES)
        for attempt in {ATTEMPTS!r}:
            try:
                exec(attempt)
                os.write(1, f"could: {{attempt}}\\n".encode())
            except (OSError, MemoryError, RuntimeError, ValueError):
                os.write(1, b"refused\\n")"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (["refused"] * len(ATTEMPTS), "")


def test_a_policy_has_no_words_for_files_environment_or_network() -> None:
    for call in ("open('/etc/hostname')", "env('HOME')", "getenv('HOME')", "http.get('http://127.0.0.1')", "import('os')", "eval('1')"):
        decision = local.decide(policy(f"{call} != ''"), {}, Stage.REQUEST, 10)
        assert (decision.allowed, decision.rule_id) == (False, "rule-0"), call


def test_many_threads_get_their_own_answers() -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            inputs = sample.inputs() | {"parameters": {"number": number, "text": "x" * 200_000}}
            if not local.decide(
                policy(f"parameters.number == {number}", "size(parameters.text) == 200000"), inputs, Stage.REQUEST, 10
            ).allowed:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_process_that_was_forked_off_has_its_own_and_leaves_the_first_alone(tmp_path: Path) -> None:
    script = f"""if True:
        import os, sys
        sys.path.insert(0, {str(Path(sandbox.__file__).parents[2])!r})
        from aiinfra_core.domain.promotion import Stage
        from aiinfra_core.rules import sandbox
        from aiinfra_core.rules.document import Policy, Rule
        asked = Policy(name="p", version="1", allow_id="y", deny_id="n", rules=(Rule(id="r", expression="true", reason="no"),))
        assert sandbox.judge(asked, {{}}, Stage.REQUEST, 10)[0].verdict == "yes"
        first = sandbox.process_id()
        with sandbox._state.turn:
            child = os.fork()
            if child == 0:
                told = sandbox.judge(asked, {{}}, Stage.REQUEST, 10)[0].verdict
                other = sandbox.process_id()
                sandbox.stop()
                os._exit(0 if (told, other == first) == ("yes", False) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sandbox.judge(asked, {{}}, Stage.REQUEST, 10)[0].verdict == "yes"
        assert sandbox.process_id() == first"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_ends_with_whoever_started_it() -> None:
    script = f"""if True:
        import os, sys
        sys.path.insert(0, {str(Path(sandbox.__file__).parents[2])!r})
        from aiinfra_core.rules import sandbox
        with sandbox._state.turn:
            sandbox._running()
        print(sandbox.process_id(), flush=True)
        os.kill(os.getpid(), 9)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    judge, deadline = Path(f"/proc/{int(done.stdout)}/exe"), time.monotonic() + 10
    while judge.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not judge.exists()


def test_without_a_process_nothing_is_allowed_and_it_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.stop()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="could not be started"):
        sandbox.judge(policy(YES), {}, Stage.REQUEST, 10)
    decision = local.decide(policy(YES), {}, Stage.REQUEST, 10)
    assert (decision.allowed, decision.unavailable) == (False, True)
