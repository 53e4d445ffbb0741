"""The service on a real socket, in a thread of the test's process; `aiinfra serve` itself is started by the tests of the server."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from aiinfra_core.http_api.app import create_app
from aiinfra_core.http_api.tls import HttpProtocol
from aiinfra_core.settings import Settings

AS_DEBUG = {"X-Debug-Token": "a-debug-token-for-tests"}
"""What these settings have to allow: `allow_debug_token` with this `debug_token`."""


@contextmanager
def serving(settings: Settings, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve the API over these settings, perhaps over TLS; give its address."""
    with serving_app(uvicorn.Config(create_app(settings), http=HttpProtocol, log_level="warning", lifespan="on"), tls) as url:
        yield url


@contextmanager
def serving_app(config: uvicorn.Config, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve what is configured, perhaps over TLS; give its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config.load()
        config.ssl = tls
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive() and time.monotonic() < deadline, "the service did not start"
                time.sleep(0.01)
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def calling(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the API and give a client that comes with the debug token, which these settings must allow."""
    with serving(settings) as url, httpx.Client(base_url=url, headers=AS_DEBUG, timeout=30) as client:
        yield client
