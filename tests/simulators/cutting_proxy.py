"""A TCP proxy that lets a request through and cuts the connection when the answer begins: the work is done, and nobody was told."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class CuttingProxy:
    """Cuts the first `cuts` answers, after the service gave them; then passes everything on."""

    upstream: tuple[str, int]
    cuts: int
    url: str = ""
    swallowed: list[bytes] = field(default_factory=list)

    def serve(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self.upstream) as service:
            asking = threading.Thread(target=_pour, args=(caller, service))
            asking.start()
            with suppress(OSError):
                while data := service.recv(65536):
                    if len(self.swallowed) < self.cuts:
                        self.swallowed.append(data)
                        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break
                    caller.sendall(data)
            for one in (caller, service):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RD if one is caller else socket.SHUT_RDWR)
            asking.join()


def _pour(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_proxy(url: str, cuts: int = 1) -> Iterator[CuttingProxy]:
    """Run such a proxy in front of the service at `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = CuttingProxy((parts.hostname, parts.port), cuts)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    threads.append(threading.Thread(target=proxy.serve, args=(caller,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield proxy
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()
