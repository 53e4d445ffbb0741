"""A real HTTP server in this process whose every answer is scripted: the base of the KMS and SentinelNet simulators."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body, self.command)
        try:
            self.server.owner.next_behaviour(received)(self, received)
        except OSError:
            self.close_connection = True

    do_GET = do_PATCH = do_POST  # noqa: N815 - the names are the base class's

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Stay silent."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": "application/json"} | named).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than the server runs."""
        self.server.owner.stopping.wait(seconds)


Behaviour = Callable[[Handler, Received], None]


def answers(status: int, body: Any = None, **headers: str) -> Behaviour:
    """Answer with JSON, or with the bytes given."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: Handler, received: Received) -> None:
        handler.send(status, data, **headers)

    return answer


def after(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Behave so, but late."""

    def late(handler: Handler, received: Received) -> None:
        handler.pause(seconds)
        behaviour(handler, received)

    return late


def resets(handler: Handler, received: Received) -> None:
    """Reset the connection without an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.server.forget(handler.connection)
    handler.connection.close()


def hangs(handler: Handler, received: Received) -> None:
    """Never answer."""
    handler.pause(60)
    handler.close_connection = True


def drips_body(handler: Handler, received: Received) -> None:
    """Send a body one byte at a time, without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    _drip(handler)


def drips_headers(handler: Handler, received: Received) -> None:
    """Send headers one byte at a time, without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
    _drip(handler)


def cuts_short(body: bytes) -> Behaviour:
    """Promise one byte more than is sent, then close."""

    def cut(handler: Handler, received: Received) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 1, body))
        handler.close_connection = True

    return cut


def speaks_no_http(handler: Handler, received: Received) -> None:
    """Answer with something that is not HTTP."""
    handler.wfile.write(b"220 mail.example ready\r\n")
    handler.close_connection = True


def _drip(handler: Handler) -> None:
    handler.close_connection = True
    while not handler.server.owner.stopping.wait(0.02):
        handler.wfile.write(b"x")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, owner: "ScriptedServer") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner = owner
        self._sockets: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._sockets.add(request)
        self.owner.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.forget(request)
        super().shutdown_request(request)

    def forget(self, request: Any) -> None:
        self._sockets.discard(request)

    def hang_up(self) -> None:
        for open_socket in list(self._sockets):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@dataclass
class ScriptedServer:
    """Answers the first request with the first behaviour of the script and so on; the last one repeats."""

    script: Sequence[Behaviour]
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    on_request: Callable[[], None] = lambda: None
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_behaviour(self, received: Received) -> Behaviour:
        self.on_request()
        with self._lock:
            self.requests.append(received)
            return self.script[min(len(self.requests), len(self.script)) - 1]


@contextmanager
def scripted_server(*script: Behaviour) -> Iterator[ScriptedServer]:
    """Run a server on a free local port."""
    owner = ScriptedServer(script)
    server = _Server(owner)
    owner.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield owner
    finally:
        owner.stopping.set()
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()


def unused_url() -> str:
    """Return a local URL nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
