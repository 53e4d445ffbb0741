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

BUCKET = "ai-infra-test"
ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"


@pytest.fixture(scope="session")
def aws_credentials() -> Iterator[None]:
    """Give every S3 client of this test process the credentials the servers here accept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture(scope="session")
def moto_endpoint(aws_credentials: None) -> Iterator[str]:
    """Run a moto server with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3_client(f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def rclone_endpoint(aws_credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `rclone serve s3` over a directory with an empty bucket."""
    with rclone_serving(tmp_path_factory.mktemp("rclone"), f"{ACCESS_KEY},{SECRET_KEY}") as endpoint:
        yield endpoint


@contextmanager
def rclone_serving(directory: Path, auth_key: str) -> Iterator[str]:
    """Serve a directory, whose subdirectories are buckets, to whoever has the `id,secret` pair."""
    (directory / BUCKET).mkdir(exist_ok=True)
    port = free_port()
    command = [
        Path(sysconfig.get_path("scripts")) / "rclone",
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        auth_key,
        directory,
    ]
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


@contextmanager
def dying_after(upstream: str, received_bytes: int) -> Iterator[str]:
    """Run a server that is `upstream` until it has received so many bytes, and is then gone: connections and port."""
    host, port = upstream.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]
    left = received_bytes

    def die() -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def forward(source: socket.socket, target: socket.socket, counts: bool) -> None:
        nonlocal left
        with suppress(OSError):
            while data := source.recv(65536):
                left -= len(data) if counts else 0
                if left < 0:
                    return die()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        return None

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                sockets.extend((client, server))
                for arguments in ((client, server, True), (server, client, False)):
                    threads.append(threading.Thread(target=forward, args=arguments, daemon=True))
                    threads[-1].start()

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    die()
    for thread in threads:
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


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


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
