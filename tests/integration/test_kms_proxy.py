"""The signing proxy: its own protocol; what it shares with the other signers is in `test_signers`."""

import base64
import gzip
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core import keys
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import Unavailable
from aiinfra_core.evidence import dsse
from aiinfra_core.outbound import Patience
from aiinfra_core.settings import Settings
from aiinfra_core.signing.http_proxy import HttpProxySigner
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import sign_verified
from tests.simulators import kms_proxy
from tests.simulators.scripted_server import (
    Behaviour,
    after,
    answers,
    cuts_short,
    drips_body,
    drips_headers,
    hangs,
    resets,
    speaks_no_http,
)

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
PUBLIC = PublicKey(KEY.public_key().public_bytes_raw())
QUICK = Patience(timeout_seconds=2.0, attempts=3, backoff_seconds=0.001)
IMPATIENT = Patience(timeout_seconds=0.15, attempts=2, backoff_seconds=0.001)
GOOD = kms_proxy.signs(KEY)


def signer_at(url: str, patience: Patience = QUICK, configured_id: str | None = kms_proxy.SIGNER_ID) -> HttpProxySigner:
    return HttpProxySigner(url, PUBLIC, configured_id, patience)


def reply(**fields: Any) -> dict[str, Any]:
    signature = base64.b64encode(KEY.sign(b"message")).decode()
    return {"signature_b64": signature, "signer_id": kms_proxy.SIGNER_ID, **fields}


def test_the_proxy_is_asked_as_agreed_and_its_signature_is_used() -> None:
    with kms_proxy.serve(GOOD) as kms:
        signature = sign_verified(signer_at(kms.url), b"message")
    PUBLIC.verify(b"message", signature)
    (request,) = kms.requests
    assert (request.path, request.json) == ("/sign", {"payload_b64": base64.b64encode(b"message").decode()})
    assert request.headers["content-type"] == "application/json"


def test_the_configured_endpoint_signs_envelopes() -> None:
    with kms_proxy.serve(GOOD) as kms:
        settings = Settings.model_validate({"home": "/nowhere", "kms_endpoint": f"{kms.url}/", "kms_public_key_b64": PUBLIC.base64})
        signer = keys.configured_signer(settings, Purpose.PROMOTION)
        envelope = dsse.sign(b'{"a":1}', signer)
    assert signer.signer_id == f"ed25519:{PUBLIC.keyid[:16]}"
    assert dsse.open_envelope(envelope, {PUBLIC.keyid: PUBLIC}) == b'{"a":1}'
    assert kms.requests[0].path == "/sign"


@pytest.mark.parametrize(
    "first",
    [answers(500), answers(502, b"<html>"), answers(503), answers(599), resets, cuts_short(b"{}"), speaks_no_http],
    ids=["500", "502", "503", "599", "reset", "cut short", "no HTTP"],
)
def test_a_passing_trouble_is_tried_again(first: Behaviour) -> None:
    with kms_proxy.serve(first, first, GOOD) as kms:
        assert sign_verified(signer_at(kms.url), b"message")
    assert len(kms.requests) == 3


@pytest.mark.parametrize(
    "always",
    [answers(500), answers(500, reply()), resets, cuts_short(b"{}"), speaks_no_http],
    ids=["500", "500 with a signature", "reset", "cut short", "no HTTP"],
)
def test_a_lasting_trouble_ends_after_three_attempts(always: Behaviour) -> None:
    with kms_proxy.serve(always) as kms, pytest.raises(Unavailable, match="Gave up after 3 attempts") as caught:
        sign_verified(signer_at(kms.url), b"message")
    assert len(kms.requests) == 3
    assert caught.value.part == "signer"


@pytest.mark.parametrize("always", [hangs, drips_body, drips_headers], ids=["hangs", "drips its body", "drips its headers"])
def test_a_slow_proxy_is_cut_off_in_time(always: Behaviour) -> None:
    started = time.monotonic()
    with kms_proxy.serve(always) as kms, pytest.raises(Unavailable, match=r"No whole answer from 127\.0\.0\.1 within 0\.15 s"):
        sign_verified(signer_at(kms.url, IMPATIENT), b"message")
    assert time.monotonic() - started < 2
    assert len(kms.requests) == 2


def test_a_late_answer_within_the_time_is_used() -> None:
    with kms_proxy.serve(after(0.1, GOOD)) as kms:
        assert sign_verified(signer_at(kms.url), b"message")
    assert len(kms.requests) == 1


NEVER_AGAIN: dict[str, tuple[Behaviour, str]] = {
    "400": (answers(400, {"error": "bad"}), "HTTP 400"),
    "401 with a signature": (answers(401, reply()), "HTTP 401"),
    "404": (answers(404), "HTTP 404"),
    "429": (answers(429), "HTTP 429"),
    "redirect": (answers(307, b"", Location="http://127.0.0.1:1/sign"), "HTTP 307"),
    "202": (answers(202, reply()), "HTTP 202"),
    "empty": (answers(200, b""), "not readable as JSON"),
    "text": (answers(200, b"hello"), "not readable as JSON"),
    "cut JSON": (answers(200, b'{"signature_b64":"'), "not readable as JSON"),
    "compressed": (answers(200, gzip.compress(json.dumps(reply()).encode()), Content_Encoding="gzip"), "not readable as JSON"),
    "a key twice": (answers(200, b'{"signer_id":"a","signer_id":"b"}'), "names a key twice"),
    "list": (answers(200, [1]), "not a JSON object"),
    "deep": (answers(200, b"[" * 50_000), "not readable as JSON"),
    "no signature": (answers(200, {"signer_id": kms_proxy.SIGNER_ID}), "lacks"),
    "no signer id": (answers(200, {"signature_b64": reply()["signature_b64"]}), "lacks"),
    "signature null": (answers(200, reply(signature_b64=None)), "lacks"),
    "signer id a number": (answers(200, reply(signer_id=7)), "lacks"),
    "not base64": (answers(200, reply(signature_b64="!" * 88)), "not base64"),
    "not ASCII": (answers(200, reply(signature_b64="é" * 88)), "not base64"),
    "empty signature": (answers(200, reply(signature_b64="")), "signature of 0 bytes"),
    "63 bytes": (kms_proxy.cuts_signature(KEY, 63), "signature of 63 bytes"),
    "65 bytes": (kms_proxy.cuts_signature(KEY, 65), "signature of 65 bytes"),
    "huge": (answers(200, b" " * 70_000), "longer than 65536 bytes"),
    "other key": (kms_proxy.signs(OTHER), "does not verify with the pinned key"),
    "pre-hashed": (kms_proxy.prehashes(KEY), "does not verify with the pinned key"),
    "zeros": (answers(200, reply(signature_b64=base64.b64encode(bytes(64)).decode())), "does not verify with the pinned key"),
    "signature of another message": (answers(200, reply()), "does not verify with the pinned key"),
    "other signer id": (kms_proxy.signs(KEY, signer_id="kms:other"), "signed as 'kms:other'"),
}


@pytest.mark.parametrize(("behaviour", "why"), NEVER_AGAIN.values(), ids=NEVER_AGAIN.keys())
def test_a_wrong_answer_is_refused_and_not_asked_for_again(behaviour: Behaviour, why: str) -> None:
    with kms_proxy.serve(behaviour) as kms, pytest.raises(Unavailable, match=why) as caught:
        sign_verified(signer_at(kms.url), b"another message")
    assert len(kms.requests) == 1
    assert caught.value.part == "signer"
    assert len(str(caught.value)) < 400


def test_any_signer_id_will_do_when_none_is_configured() -> None:
    with kms_proxy.serve(kms_proxy.signs(KEY, signer_id="whoever")) as kms:
        assert sign_verified(signer_at(kms.url, configured_id=None), b"message")


def test_connections_are_kept_between_signatures() -> None:
    with kms_proxy.serve(GOOD) as kms:
        for number in range(5):
            sign_verified(signer_at(kms.url), b"message %d" % number)
    assert (len(kms.requests), kms.connections) == (5, 1)


def _wait_at(door: threading.Barrier) -> None:
    door.wait()


def test_many_signatures_are_made_at_once_and_none_is_mixed_up() -> None:
    all_at_the_door = threading.Barrier(16, timeout=20)
    with kms_proxy.serve(GOOD) as kms, ThreadPoolExecutor(16) as pool:
        kms.on_request = partial(_wait_at, all_at_the_door)
        messages = [b"message %d" % number for number in range(16)]
        signatures = list(pool.map(lambda message: sign_verified(signer_at(kms.url), message), messages))
    assert len(set(signatures)) == 16


def test_retries_wait_longer_each_time() -> None:
    moments: list[float] = []
    with kms_proxy.serve(answers(500)) as kms:
        kms.on_request = lambda: moments.append(time.monotonic())
        with pytest.raises(Unavailable):
            sign_verified(signer_at(kms.url, Patience(2.0, 4, 0.05)), b"message")
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert len(waits) == 3
    for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True):
        assert least <= wait < least + 0.5


@pytest.mark.parametrize("always", [hangs, drips_body], ids=["hangs", "drips its body"])
def test_an_attempt_that_was_cut_off_leaves_no_thread_behind(always: Behaviour) -> None:
    with kms_proxy.serve(always) as kms:
        with pytest.raises(Unavailable):
            sign_verified(signer_at(kms.url, IMPATIENT), b"message")
        deadline = time.monotonic() + 5
        while any(thread.name == "outbound" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_is_logged_names_the_trouble_and_not_the_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with kms_proxy.serve(answers(503), GOOD) as kms:
        signature = sign_verified(signer_at(kms.url), b"confidential")
    assert "answered HTTP 503" in caplog.text
    for private in ("confidential", base64.b64encode(b"confidential").decode(), base64.b64encode(signature).decode()):
        assert private not in caplog.text
