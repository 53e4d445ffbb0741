"""Real S3 servers over sockets: moto (knows If-None-Match), rclone (ignores it), and ways for a server to fail."""

import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aiinfra_core.artifact_store import Location
from tests.simulators.scripted_server import unused_url

BUCKET = "ai-infra-test"
ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the S3 clients of a test the credentials the servers here accept."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """Run a moto server with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3_client(f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `rclone serve s3` over a directory with an empty bucket."""
    with rclone_serving(tmp_path_factory.mktemp("rclone"), f"{ACCESS_KEY},{SECRET_KEY}") as endpoint:
        yield endpoint


@contextmanager
def rclone_serving(directory: Path, auth_key: str) -> Iterator[str]:
    """Serve a directory, whose subdirectories are buckets, to whoever has the `id,secret` pair."""
    (directory / BUCKET).mkdir(exist_ok=True)
    port = int(unused_url().rsplit(":", 1)[1])
    rclone = str(Path(sysconfig.get_path("scripts")) / "rclone")
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", auth_key, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def always_answering(status: int) -> Iterator[str]:
    """Run an HTTP server that answers everything with one status."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the names http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden parameter
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _DyingServer:
    def __init__(self, upstream: str, received_bytes: int) -> None:
        host, port = upstream.removeprefix("http://").split(":")
        self.upstream, self.left = (host, int(port)), received_bytes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets, self.threads = [self.listener], list[threading.Thread]()
        self.start(self.accept)

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        self.threads.append(threading.Thread(target=work, args=arguments))
        self.threads[-1].start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.upstream)
                self.sockets += [client, server]
                self.start(self.forward, client, server, 1)
                self.start(self.forward, server, client, 0)

    def forward(self, source: socket.socket, target: socket.socket, weight: int) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and self.left >= 0:
                self.left -= weight * len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        if self.left < 0:
            self.die()

    def die(self) -> None:
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def dying_after(upstream: str, received_bytes: int) -> Iterator[str]:
    """Run a server that is `upstream` until it has received so many bytes, and is then gone: connections and port."""
    server = _DyingServer(upstream, received_bytes)
    yield f"http://127.0.0.1:{server.listener.getsockname()[1]}"
    server.die()
    for thread in server.threads:
        thread.join(5)


def s3_client(endpoint: str) -> Any:
    """Return a plain client, for looking at a server and for tampering behind the product's back."""
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name="us-east-1"
    )


def location_at(endpoint: str, prefix: str) -> Location:
    """Return a location in the test bucket."""
    return Location(f"s3://{BUCKET}/{prefix}", endpoint)


def object_keys(endpoint: str, prefix: str) -> list[str]:
    """Return all keys below a prefix."""
    return [item["Key"] for item in s3_client(endpoint).list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def unfinished_uploads(endpoint: str, prefix: str) -> list[str]:
    """Return the keys of multipart uploads that were neither completed nor aborted."""
    return [item["Key"] for item in s3_client(endpoint).list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])]


def answers(port: int) -> bool:
    """Tell whether something listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(done: Callable[[], object], seconds: float = 20) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
