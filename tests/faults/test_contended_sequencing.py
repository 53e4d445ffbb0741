"""Many writers at once: at most one waits for its turn to sequence, and yet nothing that was committed is left behind."""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.event import listen, remove

from aiinfra_core import database
from aiinfra_core.audit_log import sequence, turns
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.audit_log.sequence import sequence_pending, sequence_quietly, waiting
from aiinfra_core.evidence import entry
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from tests.simulators.s3_servers import wait_until

fork = multiprocessing.get_context("fork")


Sequence = Callable[[Settings], object]


def _among_threads(settings: Settings) -> None:
    sequence_quietly(settings, audit_signer)


def _among_processes(settings: Settings) -> None:
    """Skip what threads of a process arrange among themselves, as the only thread of a process does."""
    sequence_pending(settings, audit_signer(settings), wait=False)


def _write(settings: Settings, name: str, sequence_it: Sequence = _among_threads) -> None:
    with database.transaction(settings) as tx:
        append(tx, event("training.requested", at=datetime.now(UTC), actor="tess", request_id=name, subject=name, rows={}))
    sequence_it(settings)


def _write_all(settings: Settings, name: str, count: int) -> None:
    for number in range(count):
        _write(settings, f"{name}/{number}")


def _in_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_processes(settings: Settings, work: Callable[[int], None], count: int) -> list[BaseProcess]:
    def start(number: int) -> None:
        signal.alarm(120)
        work(number)
        database.close_connections()
        os._exit(0)

    database.close_connections()  # a child must not use its parent's
    processes: list[BaseProcess] = [fork.Process(target=start, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    return processes


def _check_chain(settings: Settings) -> int:
    """Check every event and return how many there are."""
    with database.transaction(settings) as tx:
        rows = tx.execute(select(audit_events).order_by(audit_events.c.seq)).mappings().all()
    head, key = Head(), audit_signer(settings).public_key
    for row in rows:
        plain = {str(name): value for name, value in row.items()}
        assert follow(head, plain["payload"]).items() <= plain.items()
        entry.check_signature(plain, {key.keyid: key})
        head = head_after(plain)
    return len(rows)


def _chained(settings: Settings) -> int:
    with database.transaction(settings) as tx:
        return tx.execute(select(func.count()).select_from(audit_events)).scalar_one()


def _waiting(settings: Settings) -> int:
    with database.transaction(settings) as tx:
        return waiting(tx)


@pytest.mark.parametrize("threads", [16])
def test_after_the_last_of_many_writers_nothing_waits(settings: Settings, threads: int) -> None:
    def write_some(process: int) -> None:
        _in_threads(lambda thread: _write_all(settings, f"{process}/{thread}", 8), threads)

    for process in _in_processes(settings, write_some, 3):
        process.join()
        assert process.exitcode == 0
    assert (_waiting(settings), _check_chain(settings)) == (0, 3 * threads * 8)


def test_again_and_again_nothing_waits_after_the_last_writer(settings: Settings) -> None:
    for burst in range(25):
        _in_threads(lambda thread, burst=burst: _write(settings, f"{burst}/{thread}"), 5)  # type: ignore[misc]
        assert _waiting(settings) == 0, burst
    assert _check_chain(settings) == 125


def test_a_writer_that_finds_one_waiting_goes_and_its_event_is_taken_along(settings: Settings) -> None:
    with database.advisory_lock(settings, sequence._LOCKS["turn"]):
        first = threading.Thread(target=_write, args=(settings, "in line", _among_processes))
        first.start()
        wait_until(lambda: _is_taken(settings, sequence._LOCKS["next"]))
        began = time.monotonic()
        for number in range(5):
            _write(settings, f"goes {number}", _among_processes)
        assert time.monotonic() - began < 5
        assert (_waiting(settings), first.is_alive()) == (6, True)
    first.join()
    assert (_waiting(settings), _check_chain(settings)) == (0, 6)


@pytest.mark.parametrize("in_line", [True, False], ids=["one that waited", "one that did not"])
@pytest.mark.parametrize("sequence_it", [_among_threads, _among_processes])
def test_whenever_others_write_between_two_statements_of_a_sequencer_nothing_is_left(
    settings: Settings, sequence_it: Sequence, in_line: bool
) -> None:
    at = statements = 0
    first, others = threading.Thread(), list[threading.Thread]()

    def write_between(*_: object) -> None:
        nonlocal statements
        if threading.current_thread() is first:
            statements += 1
            if statements == at:
                for number in range(2):
                    others.append(threading.Thread(target=_write, args=(settings, f"other {at} {number}", sequence_it)))
                    others[-1].start()
                    others[-1].join(0.3)  # unless it waits for the first, it is done by then

    listen(Engine, "before_cursor_execute", write_between)
    listen(Engine, "commit", write_between)
    try:
        while statements >= at:
            at, statements = at + 1, 0
            first = threading.Thread(target=_write, args=(settings, f"first {at}", sequence_it))
            with database.advisory_lock(settings, sequence._LOCKS["turn"]) if in_line else nullcontext():
                first.start()
                wait_until(lambda: not in_line or _is_taken(settings, sequence._LOCKS["next"]))
            first.join()
            for thread in others:
                thread.join()
            assert _waiting(settings) == 0, at
    finally:
        remove(Engine, "before_cursor_execute", write_between)
        remove(Engine, "commit", write_between)
    assert at > 4
    _check_chain(settings)


def test_of_many_threads_one_sequences_one_waits_and_the_others_go_until_too_many_went() -> None:
    waits = 0

    def come() -> None:
        nonlocal waits
        waits += 1
        with turns.turn_in_process("a database"):
            waits -= 1

    with turns.turn_in_process("a database") as mine, turns.turn_in_process("another database") as another:
        assert (mine, another) == (True, True)
        threads = [threading.Thread(target=come) for _ in range(turns.MOST_GONE + 3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: waits == 3)
        time.sleep(0.1)
        assert waits == 3
    for thread in threads:
        thread.join()
    assert waits == 0


def test_who_is_stopped_while_it_waits_leaves_the_line_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped:
        def acquire(self, blocking: bool = True) -> bool:
            if blocking:
                raise KeyboardInterrupt
            return False

    line = turns._line("a third database", os.getpid())
    monkeypatch.setattr(line, "turn", Stopped())
    with pytest.raises(KeyboardInterrupt), turns.turn_in_process("a third database"):
        pass
    assert not line.next.locked()


def test_one_who_must_know_waits_even_behind_others(settings: Settings) -> None:
    done = []
    with database.advisory_lock(settings, sequence._LOCKS["turn"]):
        threads = [threading.Thread(target=lambda: done.append(sequence_pending(settings, audit_signer(settings)))) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert done == []
    for thread in threads:
        thread.join()
    assert done == [0, 0, 0]


def test_a_failed_sequencer_leaves_no_lock_behind(settings: Settings) -> None:
    class Broken:
        signer_id, public_key, parallel = "broken", audit_signer(settings).public_key, 1

        def sign(self, message: bytes) -> bytes:
            raise RuntimeError(f"the signer broke at {message.hex()}")

    with database.transaction(settings) as tx:
        append(tx, event("training.requested", at=datetime.now(UTC), actor="tess", request_id="r", subject="r", rows={}))
    with pytest.raises(RuntimeError):
        sequence_pending(settings, Broken())
    assert not any(_is_taken(settings, key) for key in sequence._LOCKS.values())
    assert sequence_pending(settings, audit_signer(settings)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_writers_killed_at_any_moment_lose_nothing_and_the_next_write_takes_all_along(settings: Settings, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed, so that a failure can be repeated

    def write_on(process: int) -> None:
        _in_threads(lambda thread: _write_all(settings, f"{process}/{thread}", 1000), 3)

    processes = _in_processes(settings, write_on, 6)
    wait_until(lambda: _chained(settings) > 18)
    for process in chance.sample(processes, len(processes)):
        time.sleep(chance.uniform(0.05, 0.4))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    wait_until(lambda: not any(_is_taken(settings, key) for key in sequence._LOCKS.values()))
    _write(settings, "the next one")
    assert _waiting(settings) == 0
    with database.transaction(settings) as tx:
        subjects = [json.loads(payload)["subject"] for payload in tx.execute(select(audit_events.c.payload)).scalars()]
    assert _check_chain(settings) == len(set(subjects)) > 18
    # Each wrote one after the other, so those that are there are a beginning without gaps.
    written = Counter(subject.rpartition("/")[0] for subject in subjects)
    assert set(subjects) == {"the next one"} | {f"{name}/{number}" for name, count in written.items() if name for number in range(count)}


def _is_taken(settings: Settings, key: int) -> bool:
    with database.transaction(settings) as tx:
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :key")
        return bool(tx.execute(held, {"key": key}).scalar_one())
