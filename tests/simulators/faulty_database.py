"""A proxy in front of PostgreSQL that stops passing on what it answers after so many bytes, and then says nothing, or hangs up."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

Then = Literal["silence", "reset"]


@contextmanager
def faulty(url: str, after: int, then: Then) -> Iterator[str]:
    """Give the address of such a proxy."""
    ended, threads = threading.Event(), list[threading.Thread]()

    def carry(caller: socket.socket) -> None:
        with caller, suppress(OSError), _connected(url) as server:
            asking = threading.Thread(target=_pour, args=(caller, server))
            asking.start()
            left = after
            while left and (data := server.recv(min(left, 65536))):
                caller.sendall(data)
                left -= len(data)
            if then == "reset":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                caller.shutdown(socket.SHUT_RD)
            else:
                ended.wait(60)
            server.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)
            asking.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listening.accept()
                threads.append(threading.Thread(target=carry, args=(caller,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            address = make_url(url).set(host="127.0.0.1", port=listening.getsockname()[1], query={})
            yield address.render_as_string(hide_password=False)
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _connected(url: str) -> socket.socket:
    known = conninfo_to_dict(url)
    host, port = str(known.get("host", "127.0.0.1")), int(known.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(Path(host) / f".s.PGSQL.{port}"))
    return made


def _pour(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
