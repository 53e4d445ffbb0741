"""Every kind of attestation is accepted by three DSSE verifiers we did not write, and refused by each when it was tampered with."""

import base64
import json
from typing import Any

import pytest

from aiinfra_core.evidence import dsse, sigstore_bundle
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.signing import local
from tests.interop.verifiers import openssl_accepts, securesystemslib_accepts, sigstore_refusals
from tests.simulators import sample_statements

SIGNER = local.from_base64(base64.b64encode(bytes(range(32))).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
KEY = SIGNER.public_key
PAYLOADS = {
    "training": sample_statements.training(),
    "registration": sample_statements.registration(),
    "evaluation": sample_statements.evaluation(),
    "promotion": sample_statements.promotion(),
    "longest": sample_statements.registration(artifact_uri="s3://models/" + "x" * 2900, model="rainfall-im-märz"),
}
ENVELOPES = {kind: attest(payload, SIGNER).envelope for kind, payload in PAYLOADS.items()}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def resigned(signature: bytes) -> dict[str, Any]:
    return {"signatures": [{"keyid": KEY.keyid, "sig": text(signature)}]}


def changes(kind: str) -> dict[str, dict[str, Any]]:
    """Return what is done to an envelope: how it is called -> the fields that change."""
    payload = PAYLOADS[kind]
    signature = dsse.parse(ENVELOPES[kind]).signatures[0].sig
    another = PAYLOADS["promotion" if kind != "promotion" else "training"]
    return {
        "one letter of the payload": {"payload": text(payload.replace(b"rainfall", b"rainfull"))},
        "one space more": {"payload": text(payload + b" ")},
        "the payload cut": {"payload": text(payload[:-1])},
        "the payload of another statement": {"payload": text(another)},
        "another payload type": {"payloadType": "application/json"},
        "one bit of the signature": resigned(bytes([signature[0] ^ 1]) + signature[1:]),
        "the last bit of the signature": resigned(signature[:-1] + bytes([signature[-1] ^ 128])),
        "the signature cut": resigned(signature[:-1]),
        "the signature of another statement": resigned(SIGNER.sign(dsse.pae(dsse.PAYLOAD_TYPE, another))),
        "a signature over the bare payload": resigned(SIGNER.sign(payload)),
        "a signature of another key": resigned(OTHER.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))),
    }


TAMPERED = [(kind, name, {**json.loads(ENVELOPES[kind]), **change}) for kind in PAYLOADS for name, change in changes(kind).items()]


@pytest.mark.parametrize("kind", PAYLOADS)
def test_securesystemslib_accepts_an_attestation(kind: str) -> None:
    assert securesystemslib_accepts(ENVELOPES[kind], KEY)
    assert not securesystemslib_accepts(ENVELOPES[kind], OTHER.public_key)


def test_securesystemslib_refuses_every_tampered_attestation() -> None:
    assert [(kind, name) for kind, name, value in TAMPERED if securesystemslib_accepts(json.dumps(value).encode(), KEY)] == []


@pytest.mark.parametrize("kind", PAYLOADS)
def test_openssl_accepts_the_signature_of_an_attestation(kind: str) -> None:
    signature = dsse.parse(ENVELOPES[kind]).signatures[0].sig
    assert openssl_accepts(PAYLOADS[kind], signature, KEY)
    assert not openssl_accepts(PAYLOADS[kind], signature, OTHER.public_key)


def test_openssl_refuses_every_tampered_payload_and_signature() -> None:
    asked = [
        (kind, name)
        for kind, name, value in TAMPERED
        if value["payloadType"] == dsse.PAYLOAD_TYPE
        and openssl_accepts(base64.b64decode(value["payload"]), base64.b64decode(value["signatures"][0]["sig"]), KEY)
    ]
    assert asked == []


def test_the_npm_verifier_accepts_every_attestation_as_a_bundle() -> None:
    bundles = [sigstore_bundle.bundle(envelope) for envelope in ENVELOPES.values()]
    assert sigstore_refusals(bundles, {KEY.keyid: KEY, OTHER.public_key.keyid: OTHER.public_key}) == [None] * len(bundles)


def test_the_npm_verifier_refuses_every_tampered_bundle() -> None:
    bundles = [sigstore_bundle.around(value, KEY.keyid) for _, _, value in TAMPERED]
    refusals = sigstore_refusals(bundles, {KEY.keyid: KEY})
    accepted = [(kind, name) for (kind, name, _), refusal in zip(TAMPERED, refusals, strict=True) if refusal is None]
    assert accepted == []
    assert set(refusals) == {"VerificationError: signature verification failed"}


def test_the_npm_verifier_refuses_a_bundle_that_names_no_trusted_key_or_has_another_form() -> None:
    good = json.loads(sigstore_bundle.bundle(ENVELOPES["promotion"]))
    two = {**good["dsseEnvelope"], "signatures": good["dsseEnvelope"]["signatures"] * 2}
    wrong = [
        {**good, "verificationMaterial": {**good["verificationMaterial"], "publicKey": {"hint": OTHER.public_key.keyid}}},
        {**good, "mediaType": "application/json"},
        {**good, "dsseEnvelope": two},
        {**good, "dsseEnvelope": {**good["dsseEnvelope"], "signatures": []}},
        {name: value for name, value in good.items() if name != "dsseEnvelope"},
        {name: value for name, value in good.items() if name != "verificationMaterial"},
    ]
    refusals = sigstore_refusals([json.dumps(it).encode() for it in wrong], {KEY.keyid: KEY})
    assert all(refusals), refusals
    assert "key not found" in str(refusals[0])
    trusted_under_this_name = {KEY.keyid: OTHER.public_key}
    assert all(sigstore_refusals([json.dumps(good).encode()], trusted_under_this_name))
