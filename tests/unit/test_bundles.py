"""Sigstore bundles and OpenSSF model signatures have the form their tools read; that these accept them is shown in tests/interop."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from aiinfra_core.errors import BadInput, EvidenceBroken, Misconfigured
from aiinfra_core.evidence import dsse, openssf, sigstore_bundle
from aiinfra_core.signing import local
from tests.simulators import sample_statements

SIGNER = local.from_base64(base64.b64encode(bytes(range(32))).decode())
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
ENVELOPE = dsse.sign(sample_statements.promotion(), SIGNER)
KEY = ec.generate_private_key(ec.SECP256R1())
FILES = {
    path: hashlib.sha256(path.encode()).hexdigest() for path in ("a.txt", "a/z", "b", "ü x", ".gitignore", ".git/config", "a/.git", ".gitx")
}


def test_a_bundle_holds_the_envelope_as_it_is_and_names_its_key() -> None:
    assert json.loads(sigstore_bundle.bundle(ENVELOPE)) == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": SIGNER.public_key.keyid}, "tlogEntries": []},
        "dsseEnvelope": json.loads(ENVELOPE),
    }
    assert sigstore_bundle.bundle(ENVELOPE) == sigstore_bundle.bundle(ENVELOPE)


def signatures(*signers: local.LocalSigner) -> bytes:
    payload = sample_statements.promotion()
    each = [json.loads(dsse.sign(payload, signer))["signatures"][0] for signer in signers]
    return json.dumps({**json.loads(ENVELOPE), "signatures": each}).encode()


def test_what_a_bundle_cannot_hold_is_refused() -> None:
    for envelope in (signatures(), signatures(SIGNER, OTHER)):
        with pytest.raises(BadInput, match="exactly one signature"):
            sigstore_bundle.bundle(envelope)
    with pytest.raises(EvidenceBroken, match=r"^envelope: "):
        sigstore_bundle.bundle(b"{}")


def read(signature: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return a model signature, its statement and the bytes that were signed."""
    value = json.loads(signature)
    payload = base64.b64decode(value["dsseEnvelope"]["payload"])
    return value, json.loads(payload), dsse.pae(value["dsseEnvelope"]["payloadType"], payload)


def test_a_model_signature_is_a_bundle_whose_hint_is_the_hash_of_the_keys_pem() -> None:
    value, statement, signed = read(openssf.sign("rainfall", FILES, KEY))
    assert value["verificationMaterial"] == {"publicKey": {"hint": hashlib.sha256(openssf.public_pem(KEY)).hexdigest()}, "tlogEntries": []}
    assert value["dsseEnvelope"]["signatures"][0]["keyid"] == ""
    raw = base64.b64decode(value["dsseEnvelope"]["signatures"][0]["sig"])
    KEY.public_key().verify(raw, signed, ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(raw, signed + b" ", ec.ECDSA(SHA256()))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"


def test_a_model_signature_lists_every_file_but_those_of_git_in_the_order_of_their_parts() -> None:
    _, statement, _ = read(openssf.sign("rainfall", FILES, KEY))
    resources = statement["predicate"]["resources"]
    assert [it["name"] for it in resources] == [".gitx", "a/.git", "a/z", "a.txt", "b", "ü x"]
    assert all(it == {"name": it["name"], "algorithm": "sha256", "digest": FILES[it["name"]]} for it in resources)
    together = hashlib.sha256(b"".join(bytes.fromhex(it["digest"]) for it in resources)).hexdigest()
    assert statement["subject"] == [{"name": "rainfall", "digest": {"sha256": together}}]


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a//b", "a\nb", "."])
def test_a_path_that_is_no_file_of_a_model_is_not_signed(path: str) -> None:
    with pytest.raises(BadInput):
        openssf.sign("rainfall", {path: "ab" * 32}, KEY)


def pem(key: Any, encryption: Any = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())
    return data


def test_a_p256_key_is_read_in_both_of_its_pem_forms() -> None:
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        assert openssf.public_pem(openssf.load_key(pem(KEY, form=form))) == openssf.public_pem(KEY)


BAD_KEYS = {
    "empty": b"",
    "text": b"secret-material",
    "half a PEM": pem(KEY)[:80],
    "a public key": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "with a password": pem(KEY, BestAvailableEncryption(b"password")),
    "P-384": pem(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": pem(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
    "RSA": pem(rsa.generate_private_key(65537, 2048)),
}


@pytest.mark.parametrize("data", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_any_other_key_is_refused_without_showing_it(data: bytes) -> None:
    with pytest.raises(Misconfigured, match=r"^The OpenSSF signing key is not a .*make one with: openssl") as caught:
        openssf.load_key(data)
    assert "secret-material" not in str(caught.value)
    assert caught.value.__cause__ is None
