"""Serves the API: a supervisor forks the workers, and a runner where one is asked for, replaces those that die and drains all.

The application is imported and put together once, before the first fork, so that its memory is shared and a new worker is there at once.
Nothing that a fork would break may be open by then: no database connection, no thread, no event loop. What one worker does is in `worker`.
"""

import gc
import logging
import os
import re
import select
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiinfra_core import database, measurements
from aiinfra_core.errors import AiInfraError, BadInput, Misconfigured
from aiinfra_core.http_api import logs, tls, worker
from aiinfra_core.http_api.app import create_app
from aiinfra_core.http_api.worker import Pipes
from aiinfra_core.settings import Settings
from aiinfra_core.training import unreadable

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_BACKLOG = 2048
_SAME_SIGNAL_SECONDS = 1.0  # `timeout` tells its child, and then the whole group the child is in
_AGAIN_SECONDS = 1.0  # what dies sooner is not started again before
CLOSING_SECONDS = 10.0  # to publish the last checkpoint, after the last request
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> bool:
    """Serve until told to stop; return whether every request was finished.

    Args:
        settings: what to serve, with every part filled in.
        on_ready: called once when every worker answers, with the service's address.

    Raises:
        BadInput: the address cannot be taken.
        Misconfigured: the certificate, its key or the client CA cannot be used.
        AiInfraError: the workers do not start; the log says why.
    """
    unreadable.keep_unreadable()  # nor the processes forked below
    context = tls_context(settings)
    with _listening(settings.addr) as listening, _figures_folder() as folder:
        logs.configure(settings)
        measurements.keep(folder)
        app = create_app(settings)
        members: dict[str, Callable[[Pipes], int]] = {
            f"worker-{number}": lambda pipes: worker.work(app, settings, listening, context, pipes) for number in range(settings.workers)
        }
        if settings.runner:
            members["runner"] = _runner(settings)
        database.close_connections()
        gc.collect()
        gc.freeze()  # the collector would touch, and so copy, all that is shared
        url = f"{'https' if context else 'http'}://{_reached_at(listening)}"
        return _Supervisor(members, listening, settings.drain_seconds + CLOSING_SECONDS, lambda: on_ready(url)).run()


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return how TLS is spoken, None where it is not.

    Raises:
        Misconfigured: the certificate, its key or the client CA cannot be used.
    """
    return tls.context(settings.tls_cert, settings.tls_key, settings.tls_client_ca) if settings.tls_cert else None


@dataclass
class _Member:
    name: str
    pid: int
    begun: float
    told_ready: int | None  # where it says that it is ready, until it did


@dataclass
class _Supervisor:
    members: dict[str, Callable[[Pipes], int]]
    listening: socket.socket
    patience: float
    on_ready: Callable[[], None]
    alive: tuple[int, int] = field(default_factory=os.pipe)  # closed at our end when we are gone, however we went
    running: dict[int, _Member] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    ever_ready: set[str] = field(default_factory=set)
    told: tuple[int, float] | None = None  # by which signal to stop, and when
    deadline: float | None = None
    all_finished: bool = True

    def run(self) -> bool:
        with _wakened() as wake:
            for name in self.members:
                self._start(name)
            while self.running or (self.due and self.deadline is None):
                self._wait(wake)
                self._reap()
                self._start_due()
        return self.all_finished

    def _wait(self, wake: int) -> None:
        waiting = {one.told_ready: one for one in self.running.values() if one.told_ready is not None}
        moments = [*self.due.values(), *([self.deadline] if self.deadline is not None else [])]
        timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        readable, _, _ = select.select([wake, *waiting], [], [], timeout)
        for descriptor in readable:
            if descriptor != wake:
                self._hear(waiting[descriptor])
            elif stopping := [number for number in os.read(wake, 64) if number in _STOPPING]:
                self._told_to_stop(stopping)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            logger.warning("Requests were still being carried out at the end of AI_INFRA_DRAIN_SECONDS; they are cut.")
            self._stop(at_once=True)

    def _told_to_stop(self, numbers: list[int]) -> None:
        for number in numbers:
            if self.told is None:
                self.told = (number, time.monotonic())
                self._stop(at_once=False)
            elif number != self.told[0] or time.monotonic() - self.told[1] >= _SAME_SIGNAL_SECONDS:
                self._stop(at_once=True)

    def _hear(self, member: _Member) -> None:
        assert member.told_ready is not None  # noqa: S101 - those are waited for
        said = os.read(member.told_ready, 1)
        os.close(member.told_ready)
        member.told_ready = None
        if said and member.name not in self.ever_ready:
            self.ever_ready.add(member.name)
            if self.ever_ready == set(self.members):
                self.on_ready()

    def _stop(self, *, at_once: bool) -> None:
        if self.deadline is None:
            self.listening.close()
            self.deadline = time.monotonic() + self.patience
        elif at_once:
            self.deadline = time.monotonic() + self.patience  # none of them is asked twice
        self.all_finished = self.all_finished and not (at_once and self.running)
        for pid in self.running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if (member := self.running.pop(found[0], None)) is not None:
                    self._ended(member, os.waitstatus_to_exitcode(found[1]))

    def _ended(self, member: _Member, code: int) -> None:
        if member.told_ready is not None:
            os.close(member.told_ready)
        if self.deadline is not None:
            self.all_finished = self.all_finished and code == 0
            return
        if member.name not in self.ever_ready:
            self._stop(at_once=True)
            raise AiInfraError(f"The {member.name} did not start; the log above says why.")
        logger.error("The %s (process %d) ended with %d and is replaced.", member.name, member.pid, code)
        self.due[member.name] = max(time.monotonic(), member.begun + _AGAIN_SECONDS)

    def _start_due(self) -> None:
        if self.deadline is None:
            for name in [name for name, moment in self.due.items() if moment <= time.monotonic()]:
                del self.due[name]
                self._start(name)

    def _start(self, name: str) -> None:
        ready, say_ready = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # one that comes too early for the child must not be lost
        pid = os.fork()
        if pid == 0:
            _become(name, self.members[name], Pipes(self.alive[0], say_ready), (self.alive[1], ready))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        os.close(say_ready)
        self.running[pid] = _Member(name, pid, time.monotonic(), ready)


def _become(name: str, does: Callable[[Pipes], int], pipes: Pipes, not_ours: tuple[int, ...]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_STOPPING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us; the supervisor passes it on
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        for descriptor in not_ours:
            os.close(descriptor)
        measurements.process_is(name)
        code = does(pipes)
    except BaseException:
        logger.exception("The %s cannot go on.", name)
    finally:
        os._exit(code)  # nothing of the supervisor's is ended here


def _runner(settings: Settings) -> Callable[[Pipes], int]:
    from aiinfra_core import running  # only where one runs

    return lambda pipes: worker.run_until_told(lambda stop: running.run(settings, stop), pipes)


@contextmanager
def _wakened() -> Iterator[int]:
    """Give a descriptor on which the number of each signal is read."""
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in (*_STOPPING, signal.SIGCHLD)}
    former = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)


@contextmanager
def _listening(addr: str) -> Iterator[socket.socket]:
    host, port = address(addr)
    try:
        if not host and socket.has_dualstack_ipv6():
            made = socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise BadInput(f"The service cannot listen on {addr}: {str(reason).lower()}; choose another --addr.") from None
    with made:
        made.setblocking(False)
        yield made


def address(addr: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `[IPV6]:PORT` or `:PORT`, whose host is empty: every address of this machine.

    Raises:
        Misconfigured: it is none of these.
    """
    found = _ADDRESS.fullmatch(addr)
    if found is None or int(found["port"]) > 65535:
        raise Misconfigured(f"AI_INFRA_ADDR must be HOST:PORT or :PORT, not {addr!r}.")
    return found["ipv6"] or found["host"] or "", int(found["port"])


def _reached_at(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("::", "0.0.0.0"):  # noqa: S104 - nothing is bound here
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _figures_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aiinfra-figures-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
