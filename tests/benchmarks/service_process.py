"""Servers and the load client as processes of their own, and what they use: CPU and memory of a whole tree of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A server and where it listens; `ready_seconds` is how long it took to its first answer."""

    process: subprocess.Popen[bytes]
    port: int
    ready_seconds: float


@contextmanager
def served(command: list[str], path: str, environment: dict[str, str], log: Path) -> Iterator[Served]:
    """Start a server (`PORT` in its command is replaced) and wait for 200 at a path; it is stopped at the end."""
    port = _free_port()
    command = [part.replace("PORT", str(port)) for part in command]
    began = time.perf_counter()
    with log.open("wb") as out, subprocess.Popen(command, env=os.environ | environment, cwd=ROOT, stdout=out, stderr=out) as process:
        try:
            while not _answers(port, path):
                assert process.poll() is None and time.perf_counter() - began < 60, log.read_text()
                time.sleep(0.01)
            yield Served(process, port, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in family(process.pid):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def load_client() -> Iterator[subprocess.Popen[str]]:
    """Give a load client; `asked` makes it work."""
    command = [sys.executable, str(Path(__file__).with_name("service_load.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def asked(client: subprocess.Popen[str], order: dict[str, Any]) -> dict[str, Any]:
    """Have the load client do an order and return what it found."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(json.dumps(order) + "\n")
    client.stdin.flush()
    done: dict[str, Any] = json.loads(client.stdout.readline())
    return done


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU seconds these processes have used, user and system."""
    return sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid))) / TICKS_PER_SECOND


def memory_mib(pids: list[int]) -> float:
    """Return the memory of these processes, what they share counted once (PSS)."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
