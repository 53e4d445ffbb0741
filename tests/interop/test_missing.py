"""A verifier that is missing is never taken for one that agrees."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_core.signing.public_key import PublicKey
from tests.interop import verifiers


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "_CACHE", tmp_path / "empty")
    monkeypatch.setattr(verifiers, "_GOPATH", tmp_path / "empty")
    monkeypatch.setenv("PATH", str(tmp_path))


ASKED: dict[str, Callable[[], object]] = {
    "openssl": lambda: verifiers.openssl_accepts(b"", b"", PublicKey(bytes(range(32)))),
    "npm": lambda: verifiers.sigstore_refusals([b"{}"], {}),
    "go": verifiers.go_verifier,
    "model_signing": lambda: verifiers.model_signing_accepts(Path("model"), Path("model.sig"), Path("key.pem")),
}


@pytest.mark.parametrize("verifier", ASKED)
def test_a_missing_verifier_skips_for_a_developer_and_says_what_to_run(verifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"is not installed; run scripts/install-verifiers\.sh"):
        ASKED[verifier]()


@pytest.mark.parametrize("verifier", ASKED)
def test_a_missing_verifier_fails_in_ci(verifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"is not installed; run scripts/install-verifiers\.sh"):
        ASKED[verifier]()
