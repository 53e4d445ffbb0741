"""Every back end that can sign, each holding a key it is given: what `tests/integration/test_signers.py` holds to one contract."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.signing.load import load
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer
from tests.simulators import aws_kms, kms_proxy, vault
from tests.simulators.scripted_server import Behaviour, ScriptedServer, scripted_server
from tests.simulators.softhsm import SoftHsm

SERVED = {"proxy": kms_proxy, "aws": aws_kms, "vault": vault}
NAMES = ("local", *SERVED, "pkcs11")

Holding = Callable[[Ed25519PrivateKey], str]


def public_key_of(key: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(key.public_key().public_bytes_raw())


def served_uri(name: str, url: str) -> str:
    """Return the URI of a signer behind a test server."""
    return {
        "proxy": f"{url}?",
        "aws": f"awskms:{aws_kms.ALIAS}?region={aws_kms.REGION}&endpoint={url}",
        "vault": f"vault:{vault.KEY}?address={url}",
    }[name]


def pinned(uri: str, key: Ed25519PrivateKey, timeout_seconds: float = 5.0) -> Signer:
    """Load a signer with the public half of this key pinned in its URI."""
    mark = "&" if "?" in uri else "?"
    return load(f"{uri}{mark}public-key={public_key_of(key).base64}", timeout_seconds=timeout_seconds)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put into the environment what AWS and Vault ask for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws_kms.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws_kms.SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("VAULT_TOKEN", vault.TOKEN)


@pytest.fixture(params=NAMES)
def holding(request: pytest.FixtureRequest, credentials: None, tmp_path: Path) -> Iterator[Holding]:
    """Give a function that puts a key into a back end and returns its URI."""
    name = request.param
    with ExitStack() as servers:

        def hold(key: Ed25519PrivateKey) -> str:
            if name == "local":
                path = tmp_path / "signer.key"
                path.touch(0o600)
                path.write_text(base64.b64encode(key.private_bytes_raw()).decode())
                return f"file:{path}"
            if name == "pkcs11":
                hsm: SoftHsm = request.getfixturevalue("softhsm")
                return hsm.put(hsm.new_token(), key)
            return served_uri(name, servers.enter_context(scripted_server(SERVED[name].signs(key))).url)

        yield hold


@pytest.fixture(params=SERVED)
def served(request: pytest.FixtureRequest, credentials: None) -> Iterator["Served"]:
    """Give a back end behind a server whose behaviour the test chooses."""
    with ExitStack() as servers:
        yield Served(request.param, servers)


class Served:
    """One kind of signer behind a server; `at` starts the server, well or badly behaved."""

    def __init__(self, name: str, servers: ExitStack) -> None:
        self.name = name
        self.fake = SERVED[name]
        self._servers = servers

    def at(self, *script: Behaviour) -> tuple[str, ScriptedServer]:
        server = self._servers.enter_context(scripted_server(*script))
        return served_uri(self.name, server.url), server
