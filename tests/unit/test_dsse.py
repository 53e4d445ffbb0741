import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import Key as OtherKey
from securesystemslib.signer._key import SSlibKey

from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import dsse
from aiinfra_core.signing import local

SIGNER = local.from_base64(base64.b64encode(bytes(range(32))).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
KEYS = {SIGNER.public_key.keyid: SIGNER.public_key}
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1","note":"caf\xc3\xa9"}'
ENVELOPE = dsse.sign(PAYLOAD, SIGNER)


def test_the_encoding_that_is_signed_is_the_one_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(max_size=40), st.binary(max_size=200))
def test_the_encoding_agrees_with_another_implementation(kind: str, payload: bytes) -> None:
    try:
        kind.encode()
    except UnicodeEncodeError:
        return
    assert dsse.pae(kind, payload) == OtherEnvelope(payload, kind, {}).pae()


@given(st.tuples(st.text(max_size=9), st.binary(max_size=20)), st.tuples(st.text(max_size=9), st.binary(max_size=20)))
def test_no_two_messages_have_one_encoding(first: tuple[str, bytes], second: tuple[str, bytes]) -> None:
    assert (dsse.pae(*first) == dsse.pae(*second)) == (first == second)


@given(st.binary(max_size=2000))
def test_exactly_what_was_signed_comes_out(payload: bytes) -> None:
    assert dsse.open_envelope(dsse.sign(payload, SIGNER), KEYS) == payload


def test_an_envelope_has_exactly_the_fields_of_dsse() -> None:
    signature = SIGNER.sign(dsse.pae(dsse.PAYLOAD_TYPE, PAYLOAD))
    assert json.loads(ENVELOPE) == {
        "payload": base64.b64encode(PAYLOAD).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": SIGNER.public_key.keyid, "sig": base64.b64encode(signature).decode()}],
    }
    assert dsse.parse(ENVELOPE).signatures[0].base64 == base64.b64encode(signature).decode()


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_no_changed_byte_of_an_envelope_passes(place: int, change: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[place] ^= change
    with pytest.raises(EvidenceBroken):
        dsse.open_envelope(bytes(changed), KEYS)


@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_payload_passes(place: int, change: int) -> None:
    changed = bytearray(PAYLOAD)
    changed[place] ^= change
    with pytest.raises(EvidenceBroken, match=r"^signature: it does not verify"):
        dsse.open_envelope(envelope(payload=base64.b64encode(bytes(changed)).decode()), KEYS)


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_changed_byte_of_a_signature_passes(place: int, change: int) -> None:
    changed = bytearray(dsse.parse(ENVELOPE).signatures[0].sig)
    changed[place] ^= change
    with pytest.raises(EvidenceBroken, match=r"^signature: "):
        dsse.open_envelope(envelope(signatures=[{"keyid": SIGNER.public_key.keyid, "sig": base64.b64encode(changed).decode()}]), KEYS)


@given(st.integers(0, len(ENVELOPE) - 1))
def test_no_envelope_that_was_cut_passes(length: int) -> None:
    with pytest.raises(EvidenceBroken):
        dsse.open_envelope(ENVELOPE[:length], KEYS)


def envelope(**changes: Any) -> bytes:
    return json.dumps({**json.loads(ENVELOPE), **changes}).encode()


def signature(**changes: Any) -> dict[str, Any]:
    return {**json.loads(ENVELOPE)["signatures"][0], **changes}


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "envelope"),
    "not an object": (b"[]", "envelope"),
    "two objects": (ENVELOPE + ENVELOPE, "envelope"),
    "not UTF-8": (ENVELOPE.replace(b"in-toto", b"in-t\xfft"), "envelope"),
    "a key twice": (ENVELOPE.replace(b'{"payload"', b'{"payload":"AAAA","payload"'), "envelope"),
    "a field too many": (envelope(extra=1), "envelope"),
    "no payload": (json.dumps({name: value for name, value in json.loads(ENVELOPE).items() if name != "payload"}).encode(), "envelope"),
    "payload not text": (envelope(payload=1), "envelope"),
    "payload not base64": (envelope(payload="***"), "envelope"),
    "payload in url-safe base64": (envelope(payload=base64.urlsafe_b64encode(b"\xff\xff\xfe").decode()), "envelope"),
    "payload with spare bits": (envelope(payload="AB=="), "envelope"),
    "payload with a line break": (envelope(payload="AAAA\n"), "envelope"),
    "another type": (envelope(payloadType="application/json"), "payload type"),
    "type not text": (envelope(payloadType=None), "payload type"),
    "signatures not a list": (envelope(signatures={}), "envelope"),
    "no signature": (envelope(signatures=[]), "signature"),
    "signature not an object": (envelope(signatures=["sig"]), "envelope"),
    "signature without keyid": (envelope(signatures=[{"sig": signature()["sig"]}]), "envelope"),
    "keyid not text": (envelope(signatures=[signature(keyid=1)]), "envelope"),
    "signature with a certificate": (envelope(signatures=[signature(cert="x")]), "envelope"),
    "unknown key": (envelope(signatures=[signature(keyid="0" * 64)]), "signature"),
    "one known and one unknown key": (envelope(signatures=[signature(), signature(keyid="0" * 64)]), "signature"),
    "one signature twice": (envelope(signatures=[signature(), signature()]), "signature"),
    "short signature": (envelope(signatures=[signature(sig=base64.b64encode(bytes(63)).decode())]), "signature"),
    "empty signature": (envelope(signatures=[signature(sig="")]), "signature"),
    "signed by another key": (dsse.sign(PAYLOAD, OTHER), "signature"),
    "signature of another type": (
        envelope(signatures=[signature(sig=base64.b64encode(SIGNER.sign(dsse.pae("application/json", PAYLOAD))).decode())]),
        "signature",
    ),
    "signature over the bare payload": (envelope(signatures=[signature(sig=base64.b64encode(SIGNER.sign(PAYLOAD)).decode())]), "signature"),
    "deep": (b"[" * 100_000, "envelope"),
}


@pytest.mark.parametrize(("bad", "step"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_envelope_is_refused_at_the_step_that_is_wrong(bad: bytes, step: str) -> None:
    with pytest.raises(EvidenceBroken) as caught:
        dsse.open_envelope(bad, KEYS)
    assert caught.value.place == step


def test_a_key_stored_under_the_id_of_another_is_not_trusted() -> None:
    forged = envelope(signatures=[signature(sig=base64.b64encode(OTHER.sign(dsse.pae(dsse.PAYLOAD_TYPE, PAYLOAD))).decode())])
    with pytest.raises(EvidenceBroken, match="not trusted"):
        dsse.open_envelope(forged, {SIGNER.public_key.keyid: OTHER.public_key})


def test_what_a_kms_could_not_sign_is_refused_before_it_is_asked() -> None:
    header = len(dsse.pae(dsse.PAYLOAD_TYPE, b"x" * 4000)) - 4000
    most = b"x" * (dsse.MAX_PAE_BYTES - header)
    assert dsse.open_envelope(dsse.sign(most, SIGNER), KEYS) == most
    with pytest.raises(BadInput, match="too long to sign"):
        dsse.sign(most + b"x", SIGNER)


def other_key(keyid: str, signer: local.LocalSigner) -> OtherKey:
    return SSlibKey.from_dict(keyid, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": signer.public_key.raw.hex()}})


def test_securesystemslib_accepts_what_we_sign_and_refuses_it_when_tampered_with() -> None:
    key = other_key(SIGNER.public_key.keyid, SIGNER)
    assert OtherEnvelope.from_dict(json.loads(ENVELOPE)).verify([key], 1) == {key.keyid: key}
    tampered = [
        envelope(payload=base64.b64encode(PAYLOAD.replace(b"note", b"vote")).decode()),
        envelope(payloadType="application/json"),
        dsse.sign(PAYLOAD, OTHER),
    ]
    for bad in tampered:
        with pytest.raises(VerificationError):
            OtherEnvelope.from_dict(json.loads(bad)).verify([key], 1)
    with pytest.raises(VerificationError):
        OtherEnvelope.from_dict(json.loads(ENVELOPE)).verify([other_key(SIGNER.public_key.keyid, OTHER)], 1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_accepts_what_we_sign_and_refuses_it_when_tampered_with(tmp_path: Path) -> None:
    def openssl_accepts(signed: bytes) -> bool:
        (tmp_path / "pae").write_bytes(signed)
        (tmp_path / "sig").write_bytes(dsse.parse(ENVELOPE).signatures[0].sig)
        (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-sigfile", "sig", "-in", "pae"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    signed = dsse.pae(dsse.PAYLOAD_TYPE, PAYLOAD)
    assert openssl_accepts(signed)
    assert not openssl_accepts(signed.replace(b"note", b"vote"))
    assert not openssl_accepts(PAYLOAD)
