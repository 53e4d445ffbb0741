"""One contract for every signer back end; what only one of them does is in test_kms_proxy, test_aws_kms, test_vault and test_pkcs11."""

import base64
import json
import logging
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.evidence import dsse
from aiinfra_core.settings import Settings
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import Signer, sign_many, sign_verified
from tests.simulators import aws_kms, vault
from tests.simulators.scripted_server import (
    Behaviour,
    answers,
    cuts_short,
    drips_body,
    drips_headers,
    hangs,
    resets,
    speaks_no_http,
    unused_url,
)
from tests.simulators.signers import Holding, Served, pinned, public_key_of, served_uri
from tests.simulators.softhsm import PIN

VECTORS = json.loads(Path("tests/vectors/rfc8032_ed25519.json").read_text())["vectors"]
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
PUBLIC = public_key_of(KEY)
ZEROS = base64.b64encode(bytes(64)).decode()


@pytest.mark.parametrize("vector", VECTORS, ids=["TEST 1", "TEST 2", "TEST 3", "SHA(abc)"])
def test_signatures_are_those_of_rfc_8032(holding: Holding, vector: dict[str, str]) -> None:
    seed, raw, message, signature = (bytes.fromhex(vector[name]) for name in ("seed", "public_key", "message", "signature"))
    key = Ed25519PrivateKey.from_private_bytes(seed)
    uri = holding(key)
    signer = pinned(uri, key)
    assert signer.public_key.raw == raw
    if not message and uri.startswith("awskms:"):
        with pytest.raises(BadInput, match="1 to 4096 bytes, not 0"):
            sign_verified(signer, message)
    else:
        assert sign_verified(signer, message) == signature


def test_the_smallest_and_the_largest_envelope_are_signed(holding: Holding) -> None:
    signer = pinned(holding(KEY), KEY)
    smallest = dsse.pae(dsse.PAYLOAD_TYPE, b"")
    largest = smallest.replace(b" 0 ", b" %d " % (4096 - len(smallest) - 3)) + bytes(4096 - len(smallest) - 3)
    assert len(largest) == 4096
    for message in (smallest, largest):
        PUBLIC.verify(message, sign_verified(signer, message))


def test_a_back_end_that_holds_another_key_is_refused(holding: Holding) -> None:
    uri = holding(OTHER)
    if uri.startswith("file:"):
        with pytest.raises(Misconfigured, match="not the one pinned"):
            pinned(uri, KEY)
    else:
        with pytest.raises(Unavailable, match="does not verify with the pinned key") as caught:
            sign_verified(pinned(uri, KEY), b"message")
        assert caught.value.part == "signer"


def test_signatures_asked_for_at_once_are_not_mixed_up(holding: Holding) -> None:
    signer = pinned(holding(KEY), KEY)
    batches = [[b"message %d of batch %d" % (number, batch) for number in range(8)] for batch in range(32)]
    with ThreadPoolExecutor(32) as pool:
        signed = list(pool.map(partial(sign_many, signer), batches))
    for messages, signatures in zip(batches, signed, strict=True):
        for message, signature in zip(messages, signatures, strict=True):
            PUBLIC.verify(message, signature)


def test_the_name_is_the_configured_one_or_made_of_the_key(holding: Holding) -> None:
    uri = holding(KEY)
    named = f"{uri}{'&' if '?' in uri else '?'}signer-id=kms:alias%2Fai-infra"
    assert pinned(uri, KEY).signer_id == f"ed25519:{PUBLIC.keyid[:16]}"
    signer = pinned(named, KEY)
    assert signer.signer_id == "kms:alias/ai-infra"
    assert sign_verified(signer, b"message")


def test_the_settings_give_name_and_pin_where_the_uri_gives_none(holding: Holding) -> None:
    uri = holding(KEY)
    signer = load(uri, signer_id="kms:alias/ai-infra", public_key_b64=PUBLIC.base64)
    assert (signer.signer_id, signer.public_key) == ("kms:alias/ai-infra", PUBLIC)


def test_a_key_that_is_elsewhere_must_be_pinned(holding: Holding) -> None:
    uri = holding(KEY)
    if uri.startswith("file:"):
        assert load(uri).public_key == PUBLIC
    else:
        with pytest.raises(Misconfigured, match="add public-key=BASE64 to its URI"):
            load(uri)


@pytest.mark.parametrize("extra", ["colour=hunter2", "signer-id=hunter2&signer-id=hunter2", "pin-value=hunter2", "signer-id="])
def test_a_parameter_that_is_unknown_empty_or_given_twice_is_named_and_its_value_not_shown(holding: Holding, extra: str) -> None:
    uri = holding(KEY)
    with pytest.raises(Misconfigured, match=r"parameter '(colour|signer-id)'|PIN may not stand") as caught:
        pinned(f"{uri}{'&' if '?' in uri else '?'}{extra}", KEY)
    assert "hunter2" not in str(caught.value)


def test_no_signer_shows_a_secret(holding: Holding, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    uri = holding(KEY)
    signer = pinned(uri, KEY)
    sign_many(signer, [b"message 1", b"message 2"])
    with pytest.raises((Unavailable, Misconfigured)) as caught:
        sign_verified(pinned(uri, OTHER), b"message")
    shown = [repr(signer), str(signer), f"{vars(signer)}", pickled(signer), caplog.text, repr(caught.value), repr(Settings(signer_uri=uri))]
    seed = KEY.private_bytes_raw()
    for secret in (base64.b64encode(seed).decode(), seed.hex(), repr(seed)[2:-1], PIN, vault.TOKEN, aws_kms.SECRET_KEY):
        assert not any(secret in text for text in shown)


def pickled(signer: Signer) -> str:
    try:
        return repr(pickle.dumps(signer))
    except TypeError:
        return "cannot be pickled"


def test_a_server_that_signs_a_hash_of_the_message_is_refused(served: Served) -> None:
    uri, _ = served.at(served.fake.prehashes(KEY))
    with pytest.raises(Unavailable, match="not a hash of it"):
        sign_verified(pinned(uri, KEY), b"message")


@pytest.mark.parametrize("always", [hangs, drips_body, drips_headers], ids=["hangs", "drips its body", "drips its headers"])
def test_a_slow_server_is_cut_off_in_time(served: Served, always: Behaviour) -> None:
    uri, _ = served.at(always)
    signer = pinned(uri, KEY, 0.2)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"No whole answer|gave no usable answer") as caught:
        sign_verified(signer, b"message")
    assert time.monotonic() - started < 4
    assert caught.value.part == "signer"


@pytest.mark.parametrize(
    "first", [answers(500, {}), answers(503, b"<html>"), resets, speaks_no_http], ids=["500", "503", "reset", "no HTTP"]
)
def test_a_passing_trouble_is_tried_again(served: Served, first: Behaviour) -> None:
    uri, server = served.at(first, served.fake.signs(KEY))
    assert sign_verified(pinned(uri, KEY), b"message")
    assert len(server.requests) == 2


NONSENSE = {
    "empty": answers(200, b""),
    "text": answers(200, b"hello"),
    "not UTF-8": answers(200, b"\xff\xfe"),
    "list": answers(200, [1]),
    "null": answers(200),
    "no signature": answers(200, {}),
    "wrong shape": answers(200, {"data": 7, "Signature": 7, "signature_b64": 7}),
    "not base64": answers(200, {"data": {"signature": "vault:v1:!"}, "Signature": "!", "signature_b64": "!", "signer_id": "kms"}),
    "cut short": cuts_short(b'{"Signature":"'),
    "null with 500": answers(500),
    "zeros": answers(200, {"data": {"signature": f"vault:v1:{ZEROS}"}, "Signature": ZEROS, "signature_b64": ZEROS, "signer_id": "kms"}),
}


@pytest.mark.parametrize("always", NONSENSE.values(), ids=NONSENSE.keys())
def test_an_answer_that_makes_no_sense_is_refused(served: Served, always: Behaviour) -> None:
    uri, _ = served.at(always)
    with pytest.raises(Unavailable) as caught:
        sign_verified(pinned(uri, KEY), b"message")
    assert len(str(caught.value)) < 400


def test_a_server_that_is_down_is_told(served: Served) -> None:
    with pytest.raises(Unavailable, match="reachable") as caught:
        sign_verified(pinned(served_uri(served.name, unused_url()), KEY), b"message")
    assert caught.value.part == "signer"


SIGN_IN_BOTH = """
import os, sys
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import sign_verified
signer = load(sys.argv[1], public_key_b64=sys.argv[2])
sign_verified(signer, b"before")
child = os.fork()
sign_verified(signer, b"after")
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_opens_a_connection_of_its_own(served: Served) -> None:
    uri, server = served.at(served.fake.signs(KEY))
    done = subprocess.run([sys.executable, "-c", SIGN_IN_BOTH, uri, PUBLIC.base64], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (len(server.requests), server.connections) == (3, 2)
