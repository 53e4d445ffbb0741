"""A proxy between us and a SentinelNet, or Prometheus, that lets the question through and does something to the answer.

One connection carries one question; the service behind it has always decided before the fault happens.
"""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.simulators.scripted_server import Behaviour, ScriptedServer
from tests.simulators.sentinelnet import serve


@dataclass
class FaultProxy:
    """Answers are kept in `answers` as SentinelNet gave them; `fault` sends them on, or what it makes of them."""

    sentinel: ScriptedServer
    fault: "Fault"
    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def carry(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            question = _message(caller)
            if not question:
                return
            host, _, port = self.sentinel.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port))) as service:
                service.sendall(question)
                self.answers.append(_message(service))
            self.fault(self, caller)


Fault = Callable[[FaultProxy, socket.socket], None]


def passes(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the answer on."""
    caller.sendall(_closing(proxy.answers[-1]))


def hangs(proxy: FaultProxy, caller: socket.socket) -> None:
    """Keep the answer."""
    proxy.stopping.wait(60)


def resets(proxy: FaultProxy, caller: socket.socket) -> None:
    """Reset the connection where the answer should begin."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_half_way(proxy: FaultProxy, caller: socket.socket) -> None:
    """Reset the connection within the answer."""
    caller.sendall(proxy.answers[-1][:-10])
    resets(proxy, caller)


def drips(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the answer on, a byte now and then."""
    for byte in _closing(proxy.answers[-1]):
        if proxy.stopping.wait(0.05):
            return
        caller.sendall(bytes([byte]))


def cuts_json(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send half of the JSON as if that were all."""
    body = _body(proxy.answers[-1])
    caller.sendall(_answer(body[: len(body) // 2]))


def calls_it_html(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the answer on as a web page."""
    caller.sendall(_answer(_body(proxy.answers[-1]), "text/html; charset=utf-8"))


def contradicts(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the answer on with a second opinion in it."""
    caller.sendall(_answer(json.dumps({**json.loads(_body(proxy.answers[-1])), "decision": "deny"}).encode()))


def replays(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the first answer there ever was, which was about another request."""
    caller.sendall(_closing(proxy.answers[0]))


def floods(proxy: FaultProxy, caller: socket.socket) -> None:
    """Send the answer on with a gigabyte behind it."""
    beginning = _body(proxy.answers[-1]).rstrip()[:-1] + b',"padding":"'
    caller.sendall(_head(2**30 + len(beginning), "application/json") + beginning)
    block = b"x" * 2**20
    for _ in range(2**10):
        caller.sendall(block)


@contextmanager
def between(behaviour: Behaviour, fault: Fault) -> Iterator[FaultProxy]:
    """Run a SentinelNet that behaves so, and such a proxy in front of it."""
    threads: list[threading.Thread] = []
    with serve(behaviour) as sentinel, socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = FaultProxy(sentinel, fault, f"http://127.0.0.1:{listening.getsockname()[1]}")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    threads.append(threading.Thread(target=proxy.carry, args=(caller,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.stopping.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _message(one: socket.socket) -> bytes:
    """Read one HTTP message with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = one.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += one.recv(65536)
    return head + b"\r\n\r\n" + body


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def _closing(answer: bytes) -> bytes:
    return answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def _answer(body: bytes, media_type: str = "application/json") -> bytes:
    return _head(len(body), media_type) + body


def _head(length: int, media_type: str) -> bytes:
    fields: dict[str, Any] = {"Content-Type": media_type, "Content-Length": length, "Connection": "close"}
    return b"HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n"
