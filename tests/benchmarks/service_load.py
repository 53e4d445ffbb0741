"""A light load client: keep-alive connections over plain sockets, one request at a time on each; a process of its own.

Reads one line of JSON, `{"port": …, "connections": …, "seconds": …, "requests": [text, …], "repeat": bool}`, and answers with
`{"done": n, "seconds": …, "statuses": {…}, "latencies": [ms, …], "first": body}`. Each request is sent once, unless they may be repeated.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from itertools import cycle
from typing import Any


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return the status and the body of the next answer; small ones come in one piece."""
    data = connection.recv(65536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(connection)
    head = data[:end].lower()
    at = head.find(b"content-length: ") + len("content-length: ")
    length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else len(head)])
    while len(data) < end + 4 + length:
        data += _more(connection)
    return int(head[9:12]), data[end + 4 :]


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the service closed the connection")
    return data


def load(order: dict[str, Any]) -> dict[str, Any]:
    """Send the requests for a while over so many connections."""
    texts = [text.encode() for text in order["requests"]]
    requests = cycle(texts) if order["repeat"] else iter(texts)
    poll, sent = selectors.EpollSelector(), dict[int, float]()
    statuses, latencies, first = Counter[int](), list[float](), b""
    for _ in range(order["connections"]):
        connection = socket.create_connection(("127.0.0.1", order["port"]))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, selectors.EVENT_READ, connection)
    began = time.perf_counter()
    end = began + order["seconds"]
    for key in list(poll.get_map().values()):
        sent[key.fd] = time.perf_counter()
        key.data.sendall(next(requests))
    while sent:
        for key, _ in poll.select():
            status, body = _answer(key.data)
            now = time.perf_counter()
            latencies.append((now - sent.pop(key.fd)) * 1e3)
            statuses[status] += 1
            first = first or body
            if now < end and (text := next(requests, None)) is not None:
                sent[key.fd] = now
                key.data.sendall(text)
    took = time.perf_counter() - began
    return {"done": len(latencies), "seconds": took, "statuses": statuses, "latencies": latencies, "first": first.decode()}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(load(json.loads(line))) + "\n")
        sys.stdout.flush()
