"""AWS KMS: what it refuses, and what is asked of it; what it shares with the other signers is in `test_signers`."""

import base64
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import Session
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.signing import public_key
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import Signer, sign_many, sign_verified
from tests.simulators import aws_kms
from tests.simulators.scripted_server import Behaviour, ScriptedServer
from tests.simulators.signers import public_key_of, served_uri

KEY = Ed25519PrivateKey.generate()
PIN = public_key_of(KEY).base64
pytestmark = pytest.mark.usefixtures("credentials")


@contextmanager
def asked(*script: Behaviour, key: str = aws_kms.ALIAS) -> Iterator[tuple[Signer, ScriptedServer]]:
    with ExitStack() as servers:
        kms = servers.enter_context(aws_kms.serve(*script))
        uri = served_uri("aws", kms.url).replace(aws_kms.ALIAS, key)
        yield load(uri, public_key_b64=PIN), kms


@pytest.mark.parametrize("name", [aws_kms.KEY_ID, aws_kms.KEY_ARN, aws_kms.ALIAS, aws_kms.KEY_ARN.replace("/", "%2F")])
def test_a_key_is_named_by_id_arn_or_alias_and_asked_for_the_message_itself(name: str) -> None:
    with asked(aws_kms.signs(KEY), key=name) as (signer, kms):
        assert sign_verified(signer, b"message")
    (request,) = kms.requests
    assert request.headers["x-amz-target"] == "TrentService.Sign"
    assert request.json == {
        "KeyId": name.replace("%2F", "/"),
        "Message": base64.b64encode(b"message").decode(),
        "MessageType": "RAW",
        "SigningAlgorithm": "ED25519_SHA_512",
    }


@pytest.mark.parametrize("message", [b"", bytes(4097)], ids=["empty", "4,097 bytes"])
def test_a_message_aws_does_not_sign_is_refused_before_it_is_asked(message: bytes) -> None:
    with asked(aws_kms.signs(KEY)) as (signer, kms), pytest.raises(BadInput, match="1 to 4096 bytes"):
        sign_verified(signer, message)
    assert kms.requests == []


REFUSALS: dict[str, tuple[Behaviour, str]] = {
    "not allowed": (aws_kms.signs(KEY, allowed=False), "AccessDeniedException.*kms:Sign"),
    "disabled": (aws_kms.signs(KEY, state="Disabled"), "DisabledException.*enable it"),
    "pending deletion": (aws_kms.signs(KEY, state="PendingDeletion"), "KMSInvalidStateException.*describe-key"),
    "for encryption": (aws_kms.signs(KEY, usage="ENCRYPT_DECRYPT"), "InvalidKeyUsageException.*SIGN_VERIFY"),
    "P-256": (aws_kms.signs(KEY, spec="ECC_NIST_P256"), "InvalidKeyUsageException.*ECC_NIST_EDWARDS25519"),
    "region without Ed25519": (aws_kms.refuses("ValidationException"), "ValidationException.*region"),
    "expired token": (aws_kms.refuses("ExpiredTokenException"), "ExpiredTokenException.*credentials"),
}


@pytest.mark.parametrize(("behaviour", "why"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_the_operator_has_to_mend_is_told_and_not_asked_again(behaviour: Behaviour, why: str) -> None:
    with asked(behaviour) as (signer, kms), pytest.raises(Misconfigured, match=why):
        sign_verified(signer, b"message")
    assert len(kms.requests) == 1


def test_an_unknown_key_is_told() -> None:
    with asked(aws_kms.signs(KEY), key="alias/nobody") as (signer, _), pytest.raises(Misconfigured, match=r"alias/nobody.*NotFound"):
        sign_verified(signer, b"message")


PASSING = ["ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"]


@pytest.mark.parametrize("code", PASSING)
def test_a_lasting_trouble_is_unavailable(code: str) -> None:
    status = 400 if code == "ThrottlingException" else 500
    with asked(aws_kms.refuses(code, status=status)) as (signer, kms), pytest.raises(Unavailable, match=code) as caught:
        sign_verified(signer, b"message")
    assert caught.value.part == "signer"
    assert len(kms.requests) == 3


def test_a_throttled_request_is_asked_again() -> None:
    with asked(aws_kms.refuses("ThrottlingException", "Rate exceeded"), aws_kms.signs(KEY)) as (signer, kms):
        assert sign_verified(signer, b"message")
    assert len(kms.requests) == 2


CREDENTIALS = {
    "none": ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "NoCredentialsError"),
    "half": ({"AWS_SECRET_ACCESS_KEY": None}, "PartialCredentialsError"),
    "unknown": ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, "UnrecognizedClientException"),
    "wrong": ({"AWS_SECRET_ACCESS_KEY": "hunter2-hunter2"}, "InvalidSignatureException"),
    "no such profile": ({"AWS_PROFILE": "nobody"}, "ProfileNotFound"),
}


@pytest.mark.parametrize(("environment", "why"), CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_wrong_credentials_are_told_without_showing_them(
    environment: dict[str, str | None], why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with asked(aws_kms.signs(KEY)) as (signer, _), pytest.raises(Misconfigured, match=why) as caught:
        sign_verified(signer, b"message")
    for text in (str(caught.value), caplog.text):
        assert "hunter2" not in text
        assert aws_kms.SECRET_KEY not in text


def test_a_session_token_stays_out_of_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hunter2")
    with asked(aws_kms.signs(KEY)) as (signer, kms):
        assert sign_verified(signer, b"confidential")
    assert kms.requests[0].headers["x-amz-security-token"] == "hunter2"
    for private in ("hunter2", base64.b64encode(b"confidential").decode()):
        assert private not in caplog.text


def test_the_region_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = load(f"awskms:{aws_kms.ALIAS}", public_key_b64=PIN)
    with pytest.raises(Misconfigured, match=r"NoRegionError.*region"):
        sign_verified(signer, b"message")
    for wrong in (f"awskms:{aws_kms.ALIAS}?endpoint=ftp://host", f"awskms:{aws_kms.ALIAS}?endpoint=https://a:hunter2@host", "awskms:"):
        with pytest.raises(Misconfigured) as caught:
            load(wrong, public_key_b64=PIN)
        assert "hunter2" not in str(caught.value)


def test_connections_are_kept_and_no_more_are_opened_than_signatures_are_asked_at_once() -> None:
    with asked(aws_kms.signs(KEY)) as (signer, kms):
        for _ in range(3):
            sign_many(signer, [b"message %d" % number for number in range(64)])
    assert len(kms.requests) == 192
    assert kms.connections <= signer.parallel


def test_what_aws_tells_as_public_key_can_be_pinned_as_it_is() -> None:
    with asked(aws_kms.signs(KEY)) as (_, kms):
        config = Config(retries={"total_max_attempts": 1})
        client: Any = Session().create_client("kms", region_name=aws_kms.REGION, endpoint_url=kms.url, config=config)
        told = client.get_public_key(KeyId=aws_kms.ALIAS)
        assert client.describe_key(KeyId=aws_kms.ALIAS)["KeyMetadata"]["KeySpec"] == told["KeySpec"] == "ECC_NIST_EDWARDS25519"
        client.close()
    assert public_key.parse(base64.b64encode(told["PublicKey"]).decode()) == public_key_of(KEY)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("botocore") or name == "aiinfra_core.signing.aws_kms"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(Misconfigured, match=r"pip install 'ai-infrastructure\[aws-kms\]'"):
        load(f"awskms:{aws_kms.ALIAS}", public_key_b64=PIN)
