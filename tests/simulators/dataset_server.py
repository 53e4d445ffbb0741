"""A real HTTP server for datasets that can also misbehave: missing, failing, breaking off, silent, slow."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONTENT = b"day,rain\n1,0\n2,1\n" * 10_000


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.strip("/").partition("?")[0]
        self.server.asked.append(name)  # type: ignore[attr-defined]  # the list below
        getattr(self, name, self.missing)()

    def whole(self) -> None:
        self._head(200, len(CONTENT))
        self.wfile.write(CONTENT)

    def late(self) -> None:
        time.sleep(0.5)
        self.whole()

    def truncated(self) -> None:
        self._head(200, len(CONTENT))
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.close_connection = True

    def silent(self) -> None:
        self._head(200, len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.wfile.flush()
        self.server.closing.wait(20)  # type: ignore[attr-defined]  # the event below

    def dripping(self) -> None:
        self._head(200, len(CONTENT))
        for byte in CONTENT:
            if self.server.closing.is_set():  # type: ignore[attr-defined]
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def elsewhere(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/whole")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def broken(self) -> None:
        self._head(500, 0)

    def forbidden(self) -> None:
        self._head(403, 0)

    def missing(self) -> None:
        self._head(404, 0)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has had enough


class DatasetServer(ThreadingHTTPServer):
    """Serves `/whole`, `/late`, `/truncated`, `/silent`, `/dripping`, `/elsewhere`, `/broken`, `/forbidden`; `asked` lists the requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.closing = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


@contextmanager
def _running() -> Iterator[DatasetServer]:
    with DatasetServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def dataset_server() -> Iterator[DatasetServer]:
    with _running() as server:
        yield server
