"""Signatures per second and CPU per signature through `sign_many`, each remote signer against a fake that takes 20 ms for each.

The fakes run in a process of their own, which `--serve` is; the figures are printed.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.signing.signer import Signer, sign_many
from tests.simulators import aws_kms, vault
from tests.simulators.scripted_server import after, scripted_server
from tests.simulators.signers import SERVED, pinned, served_uri

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECONDS = 0.02
BATCHES = (64, 1024)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": aws_kms.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": aws_kms.SECRET_KEY, "VAULT_TOKEN": vault.TOKEN}


def serve() -> None:
    """Print a URI for each signer and answer until the input ends."""
    with ExitStack() as servers:
        for name, fake in SERVED.items():
            url = servers.enter_context(scripted_server(after(SECONDS, fake.signs(KEY)))).url
            print(served_uri(name, url), flush=True)  # noqa: T201
        sys.stdin.read()


def measure(signer: Signer, batch: int) -> tuple[float, float]:
    """Return signatures per second and CPU milliseconds of this process per signature."""
    messages = [b"message %d" % number for number in range(batch)]
    sign_many(signer, messages)
    rounds = max(1, 1024 // batch)
    started, cpu = time.monotonic(), time.process_time()
    for _ in range(rounds):
        sign_many(signer, messages)
    made = rounds * batch
    return made / (time.monotonic() - started), 1000 * (time.process_time() - cpu) / made


def main() -> None:
    os.environ.update(CREDENTIALS)
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for name in SERVED:
            signer = pinned(server.stdout.readline().strip(), KEY)
            for batch in BATCHES:
                rate, cpu = measure(signer, batch)
                print(f"{name}: {rate:.0f} signatures/s in batches of {batch}, {cpu:.2f} ms of CPU each")  # noqa: T201
        server.communicate()


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
