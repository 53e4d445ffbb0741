"""SoftHSM, a real PKCS#11 module, with tokens in a folder of this test run; keys are put in from outside this process."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "824159-pin-that-must-not-leak"


class SoftHsm:
    """A folder of tokens; `new_token` makes one, `put` gives it a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        self.pin_file = folder / "pin"
        self.pin_file.write_text(f"{PIN}\n")
        self.pin_file.chmod(0o600)
        self.config = folder / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self.tokens}\n")
        self._made = 0

    def new_token(self) -> str:
        """Make a token and return its label."""
        self._made += 1
        label = f"token {self._made}"
        self._run("--init-token", "--free", "--label", label, "--so-pin", "1234", "--pin", PIN)
        return label

    def put(self, token: str, key: Ed25519PrivateKey, label: str = "release") -> str:
        """Put a key into a token and return its URI, with the PIN in a file."""
        self._made += 1
        path = self.folder / f"{self._made}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._run("--import", str(path), "--token", token, "--label", label, "--id", f"{self._made:04x}", "--pin", PIN)
        return f"{self.uri(token, label)}&pin-source=file:{quote(str(self.pin_file))}"

    def uri(self, token: str, label: str = "release") -> str:
        """Return the URI of a key, without a PIN."""
        return f"pkcs11:token={quote(token)};object={quote(label)}?module-path={MODULE}"

    def _run(self, *arguments: str) -> None:
        environment = {**os.environ, "SOFTHSM2_CONF": str(self.config)}
        subprocess.run(["softhsm2-util", *arguments], env=environment, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """Give SoftHSM with a folder of its own: the module reads where it is once in a process."""
    if not MODULE.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("softhsm2 is not installed: scripts/install-verifiers.sh")
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.config))
        yield hsm
