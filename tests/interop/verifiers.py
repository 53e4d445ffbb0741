"""The verifiers of other people, each as one function that says whether it accepts. What they are asked lives in the tests.

`scripts/install-verifiers.sh` installs them. One that is missing skips the test with its reason, or fails it when CI is set.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from aiinfra_core.evidence import dsse
from aiinfra_core.signing.public_key import PublicKey

_HERE = Path(__file__).parent
# Read while the tests are collected: each test has a home of its own.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-infra-interop"
_GOPATH = Path("/usr/share/gocode")
_TIMEOUT_SECONDS = 100


def securesystemslib_accepts(envelope: bytes, key: PublicKey) -> bool:
    """Ask securesystemslib's DSSE verification, with one trusted key."""
    trusted = SSlibKey.from_dict(key.keyid, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key.raw.hex()}})
    try:
        return list(Envelope.from_dict(json.loads(envelope)).verify([trusted], 1)) == [key.keyid]
    except VerificationError:
        return False


def openssl_accepts(payload: bytes, signature: bytes, key: PublicKey) -> bool:
    """Ask openssl about an Ed25519 signature over the PAE of a payload."""
    _need(shutil.which("openssl"), "the command openssl")
    with tempfile.TemporaryDirectory() as folder:
        files = {"pae": dsse.pae(dsse.PAYLOAD_TYPE, payload), "sig": signature, "key.pem": key.pem.encode()}
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        done = _run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-sigfile", "sig", "-in", "pae"], cwd=folder)
    assert "Signature Verif" in done.stdout, done.stderr
    return done.returncode == 0


def sigstore_refusals(bundles: Sequence[bytes], keys: Mapping[str, PublicKey]) -> list[str | None]:
    """Return for each bundle why npm's @sigstore/verify refuses it, or None where it accepts."""
    modules = _installed("node", "node/package-lock.json") / "node_modules"
    spki = {hint: "".join(key.pem.splitlines()[1:-1]) for hint, key in keys.items()}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys.json").write_text(json.dumps(spki))
        for number, data in enumerate(bundles):
            (Path(folder) / f"{number}.json").write_bytes(data)
        names = [f"{number}.json" for number in range(len(bundles))]
        done = _run(["node", str(_HERE / "node/verify.cjs"), "keys.json", *names], cwd=folder, NODE_PATH=str(modules))
    assert done.returncode == 0, done.stderr
    refusals: list[str | None] = json.loads(done.stdout)
    return refusals


def go_verifier() -> Path:
    """Return the Go program over x/mod/sumdb, compiled when its source has changed."""
    go = shutil.which("go") or shutil.which("go", path="/usr/lib/go-1.19/bin")
    _need(go, "Go (golang-1.19-go)")
    _need((_GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir(), "Go's x/mod/sumdb (golang-golang-x-mod-dev)")
    source = _HERE / "go/verify.go"
    program = _CACHE / f"go-verify-{sha256(source.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        partial = program.with_name(f"{program.name}.{os.getpid()}")
        settings = {"GO111MODULE": "off", "GOPATH": str(_GOPATH), "GOCACHE": str(_CACHE / "go-build"), "GOFLAGS": "", "CGO_ENABLED": "0"}
        done = _run([str(go), "build", "-o", str(partial), str(source)], cwd=_HERE, **settings)
        assert done.returncode == 0, done.stderr
        partial.replace(program)
    return program


def go_accepts(question: str, *arguments: str | Path) -> bool:
    """Ask the Go program `note`, `inclusion` or `consistency`."""
    done = _run([str(go_verifier()), question, *map(str, arguments)])
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.startswith("refused: ") == (done.returncode == 1)
    return done.returncode == 0


def go_dirhash(folder: Path) -> str:
    """Return what Go's dirhash makes of a directory, in hex."""
    done = _run([str(go_verifier()), "dirhash", str(folder)])
    assert done.returncode == 0, done.stderr
    return base64.b64decode(done.stdout.removeprefix("h1:")).hex()


def model_signing_accepts(model: Path, signature: Path, public_key: Path) -> bool:
    """Ask OpenSSF's `model_signing verify key`."""
    python = _installed("model-signing", "model_signing-requirements.txt") / "bin/python"
    command = ["-m", "model_signing", "verify", "key", str(model), "--signature", str(signature), "--public_key", str(public_key)]
    done = _run([str(python), *command])
    expected = "Verification succeeded" if done.returncode == 0 else "Verification failed with error"
    assert expected in done.stdout + done.stderr, done.stderr
    return done.returncode == 0


def _installed(name: str, lock: str) -> Path:
    folder = _CACHE / f"{name}-{sha256((_HERE / lock).read_bytes()).hexdigest()[:16]}"
    _need((folder / ".ready").exists(), name)
    return folder


def _need(present: object, what: str) -> None:
    if not present:
        _missing(f"{what} is not installed; run scripts/install-verifiers.sh")


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _run(command: Sequence[str], cwd: Path | str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
