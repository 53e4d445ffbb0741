"""Vault and OpenBao transit: what it refuses, and where its token comes from; what it shares with other signers is in `test_signers`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.signing import public_key
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import Signer, sign_many, sign_verified
from tests.simulators import vault
from tests.simulators.scripted_server import Behaviour, ScriptedServer, answers
from tests.simulators.signers import public_key_of

KEY = Ed25519PrivateKey.generate()
OLD = Ed25519PrivateKey.generate()
PIN = public_key_of(KEY).base64
pytestmark = pytest.mark.usefixtures("credentials")


@contextmanager
def asked(*script: Behaviour, more: str = "", key: str = vault.KEY) -> Iterator[tuple[Signer, ScriptedServer]]:
    with vault.serve(*script) as server:
        yield load(f"vault:{key}?address={server.url}{more}", public_key_b64=PIN), server


def test_the_message_itself_is_sent_and_the_server_agrees_with_its_signature() -> None:
    with asked(vault.signs(KEY)) as (signer, server):
        signature = sign_verified(signer, b"message")
        headers = {"X-Vault-Token": vault.TOKEN}
        key = httpx.get(f"{server.url}/v1/transit/keys/{vault.KEY}", headers=headers).json()["data"]
    request = server.requests[0]
    assert (request.path, request.json) == ("/v1/transit/sign/release", {"input": "bWVzc2FnZQ=="})
    assert request.headers["x-vault-request"] == "true"
    assert public_key.parse(key["keys"]["1"]["public_key"]) == public_key_of(KEY)
    public_key_of(KEY).verify(b"message", signature)


def test_mount_namespace_and_version_are_those_of_the_uri() -> None:
    engine = vault.Transit({1: OLD, 2: KEY, 3: OLD}, mount="team/transit", namespace="ml/prod")
    with asked(vault.answers_as(engine), more="&mount=team/transit&namespace=ml%2Fprod&version=2") as (signer, server):
        assert sign_verified(signer, b"message")
    assert (server.requests[0].path, server.requests[0].json["key_version"]) == ("/v1/team/transit/sign/release", 2)


def test_a_signature_by_another_version_than_the_one_asked_for_is_refused() -> None:
    signature = vault.signs(KEY)
    with asked(signature, more="&version=1") as (signer, _):
        assert sign_verified(signer, b"message")
    wrong = answers(200, {"data": {"signature": "vault:v3:" + "A" * 86 + "=="}})
    with asked(wrong, more="&version=2") as (signer, _), pytest.raises(Unavailable, match="version 3 of the key, not 2"):
        sign_verified(signer, b"message")


def test_a_rotated_key_is_refused_until_its_new_version_is_pinned() -> None:
    rotated = vault.answers_as(vault.Transit({1: KEY, 2: OLD}))
    with asked(rotated) as (signer, _), pytest.raises(Unavailable, match="pinned key"):
        sign_verified(signer, b"message")
    with asked(rotated, more="&version=1") as (signer, _):
        assert sign_verified(signer, b"message")


REFUSALS: dict[str, tuple[Behaviour, str]] = {
    "not allowed": (vault.signs(KEY, policy=()), "HTTP 403.*update this path"),
    "other type": (vault.signs(KEY, type="aes256-gcm96"), "HTTP 400.*ed25519"),
    "version too old": (vault.signs(KEY, minimum=2), "HTTP 400.*version"),
    "no such mount": (vault.signs(KEY, mount="other"), "HTTP 404.*mount"),
    "other namespace": (vault.signs(KEY, namespace="other"), "HTTP 404.*namespace"),
}


@pytest.mark.parametrize(("behaviour", "why"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_the_operator_has_to_mend_is_told_and_not_asked_again(behaviour: Behaviour, why: str) -> None:
    with asked(behaviour) as (signer, server), pytest.raises(Misconfigured, match=why):
        sign_verified(signer, b"message")
    assert len(server.requests) == 1


def test_an_unknown_key_is_told() -> None:
    with asked(vault.signs(KEY), key="nobody") as (signer, _), pytest.raises(Misconfigured, match="transit/sign/nobody"):
        sign_verified(signer, b"message")


@pytest.mark.parametrize(
    ("behaviour", "why", "times"),
    [
        (vault.signs(KEY, sealed=True), "HTTP 503", 3),
        (vault.refuses(500, "internal error"), "HTTP 500", 3),
        (vault.refuses(429, "rate limit quota exceeded"), "HTTP 429", 1),
        (answers(307, b"", Location="http://127.0.0.1:1/v1/transit/sign/release"), "HTTP 307", 1),
        (answers(412), "HTTP 412", 1),
    ],
    ids=["sealed", "500", "too many requests", "standby", "not replicated yet"],
)
def test_a_server_that_cannot_sign_now_is_unavailable(behaviour: Behaviour, why: str, times: int) -> None:
    with asked(behaviour) as (signer, server), pytest.raises(Unavailable, match=why) as caught:
        sign_verified(signer, b"message")
    assert caught.value.part == "signer"
    assert len(server.requests) == times


def test_a_huge_answer_is_refused() -> None:
    with asked(answers(200, b" " * 70_000)) as (signer, _), pytest.raises(Unavailable, match="longer than 65536 bytes"):
        sign_verified(signer, b"message")


def test_the_token_is_read_anew_for_each_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    path = tmp_path / "token"
    path.touch(0o640)
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(path))
    with asked(vault.signs(KEY)) as (signer, _):
        path.write_text("hvs.old")
        with pytest.raises(Misconfigured, match="HTTP 403"):
            sign_verified(signer, b"message")
        path.write_text(f"{vault.TOKEN}\n")
        assert sign_verified(signer, b"message")


@pytest.mark.parametrize("name", ["BAO_TOKEN", "BAO_TOKEN_FILE"])
def test_openbao_names_are_understood(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(vault.TOKEN)
    monkeypatch.setenv(name, vault.TOKEN if name == "BAO_TOKEN" else str(path))
    with vault.serve(vault.signs(KEY)) as server:
        monkeypatch.setenv("BAO_ADDR", f"{server.url}/")
        assert sign_verified(load(f"vault:{vault.KEY}", public_key_b64=PIN), b"message")


def test_a_token_that_is_missing_open_to_others_or_no_token_is_told_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    path = tmp_path / "token"
    path.write_text("hunter2")
    path.chmod(0o644)
    wrong: list[tuple[str, str, str]] = [
        ("VAULT_TOKEN", "", "no Vault token"),
        ("VAULT_TOKEN", "hunter2\r\nX-Evil: 1", "one line"),
        ("VAULT_TOKEN", "hunter2 é", "one line"),
        ("VAULT_TOKEN_FILE", str(path), "chmod 640"),
        ("VAULT_TOKEN_FILE", str(tmp_path / "missing"), "FileNotFoundError"),
        ("VAULT_TOKEN_FILE", str(tmp_path), "token file"),
    ]
    for name, value, why in wrong:
        monkeypatch.delenv("VAULT_TOKEN", raising=False)
        monkeypatch.setenv(name, value)
        with asked(vault.signs(KEY)) as (signer, server), pytest.raises(Misconfigured, match=why) as caught:
            sign_verified(signer, b"message")
        assert "hunter2" not in str(caught.value) + caplog.text
        assert server.requests == []


WRONG_URIS = {
    "vault:?address=https://vault.example": "names no signer",
    "vault:../sys/seal?address=https://vault.example": "key's name",
    "vault:a%2Fb?address=https://vault.example": "key's name",
    "vault:release": "VAULT_ADDR",
    "vault:release?address=vault.example": "http:// or https://",
    "vault:release?address=https://u:hunter2@vault.example": "user name",
    "vault:release?address=https://vault.example&mount=../sys": "mount",
    "vault:release?address=https://vault.example&namespace=a%0d%0ab": "namespace",
    "vault:release?address=https://vault.example&version=0": "versions count from 1",
    "vault:release?address=https://vault.example&version=newest": "versions count from 1",
}


@pytest.mark.parametrize(("uri", "why"), WRONG_URIS.items())
def test_a_uri_that_names_no_key_is_refused_without_showing_it(uri: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as caught:
        load(uri, public_key_b64=PIN)
    assert "hunter2" not in str(caught.value)


def test_connections_are_kept_and_no_more_are_opened_than_signatures_are_asked_at_once() -> None:
    with asked(vault.signs(KEY)) as (signer, server):
        for _ in range(3):
            sign_many(signer, [b"message %d" % number for number in range(64)])
    assert len(server.requests) == 192
    assert server.connections <= signer.parallel
