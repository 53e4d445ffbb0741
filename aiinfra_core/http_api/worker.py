"""What a forked process of the service does until it is told to stop, or its supervisor is gone: answer requests, or run jobs.

Who forks it, and when, is decided in `server`.
"""

import asyncio
import os
import select
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from aiinfra_core.http_api.tls import HttpProtocol
from aiinfra_core.settings import Settings

_KEEP_ALIVE_SECONDS = 75  # longer than the load balancers in front keep theirs


@dataclass(frozen=True)
class Pipes:
    """Descriptors shared with the supervisor: `alive` is at its end when that is gone, into `ready` goes a byte."""

    alive: int
    ready: int


def work(app: FastAPI, settings: Settings, listening: socket.socket, context: ssl.SSLContext | None, pipes: Pipes) -> int:
    """Answer requests until told to stop, finish those that are under way, and return 0 if all of them were."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        loop="uvloop",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,  # type: ignore[arg-type]  # asyncio takes parts of a second
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    server = _Server(config, pipes)
    server.run(sockets=[listening])
    return 1 if server.cut else 0


def run_until_told(run: Callable[[threading.Event], None], pipes: Pipes) -> int:
    """Run something that ends when the event is set, which is when SIGTERM comes or the supervisor is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())

    def watch() -> None:
        select.select([pipes.alive], [], [])
        stop.set()

    threading.Thread(target=watch, name="supervisor", daemon=True).start()
    _say_ready(pipes)
    run(stop)
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, pipes: Pipes) -> None:
        super().__init__(config)
        self._pipes = pipes
        self.cut = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM for a wish to end; it is not raised again at the end."""
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the supervisor when requests are answered, and from then on see whether it is still there."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._pipes.alive, self._orphaned)
        _say_ready(self._pipes)

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        except asyncio.CancelledError:
            self.cut = True
            raise

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipes.alive)
        self.should_exit = True


def _say_ready(pipes: Pipes) -> None:
    os.write(pipes.ready, b"1")
    os.close(pipes.ready)
