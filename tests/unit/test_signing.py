import base64
import json
import logging
import os
import pickle
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import keys
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, EvidenceBroken, Misconfigured, Unavailable
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local, public_key
from aiinfra_core.signing.load import load
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer, sign_verified

VECTORS = json.loads(Path("tests/vectors/rfc8032_ed25519.json").read_text())["vectors"]
SEED = bytes(range(32))
SEED_B64 = base64.b64encode(SEED).decode()
SIGNER = local.from_base64(SEED_B64)
PAIR_B64 = base64.b64encode(SEED + SIGNER.public_key.raw).decode()
OTHER = local.from_base64(base64.b64encode(b"\x07" * 32).decode())
FIELD = 2**255 - 19


def settings(**values: object) -> Settings:
    return Settings.model_validate({"home": "/nowhere", **values})


@pytest.mark.parametrize("vector", VECTORS, ids=["TEST 1", "TEST 2", "TEST 3", "SHA(abc)"])
def test_signing_and_verifying_agree_with_rfc_8032(vector: dict[str, str]) -> None:
    seed, raw, message, signature = (bytes.fromhex(vector[name]) for name in ("seed", "public_key", "message", "signature"))
    signer = local.from_base64(base64.b64encode(seed).decode())
    assert signer.public_key.raw == raw
    assert sign_verified(signer, message) == signature
    PublicKey(raw).verify(message, signature)


@given(st.binary(max_size=80), st.integers(0, 63), st.integers(1, 255))
def test_no_changed_signature_verifies(message: bytes, place: int, change: int) -> None:
    signature = bytearray(SIGNER.sign(message))
    signature[place] ^= change
    with pytest.raises(EvidenceBroken, match=r"^signature: "):
        SIGNER.public_key.verify(message, bytes(signature))


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(EvidenceBroken, match=f"^signature: it has {length} bytes"):
        SIGNER.public_key.verify(b"message", (SIGNER.sign(b"message") * 2)[:length])


def test_a_signature_by_another_key_or_over_another_message_is_refused() -> None:
    for message, signature in ((b"message", OTHER.sign(b"message")), (b"message", SIGNER.sign(b"massage"))):
        with pytest.raises(EvidenceBroken):
            SIGNER.public_key.verify(message, signature)


def test_the_second_form_of_a_signature_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = SIGNER.sign(b"message")
    shifted = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(EvidenceBroken):
        SIGNER.public_key.verify(b"message", signature[:32] + shifted)


def test_the_keyid_is_what_openssl_and_sha256sum_make_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", tmp_path / "key.pem", "-outform", "DER"], capture_output=True, check=True)
    sums = subprocess.run(["sha256sum"], input=der.stdout, capture_output=True, check=True)
    assert sums.stdout.split()[0].decode() == SIGNER.public_key.keyid


def test_a_public_key_is_read_in_each_of_its_forms() -> None:
    der = base64.b64decode("".join(SIGNER.public_key.pem.splitlines()[1:-1]))
    for text in (SIGNER.public_key.base64, f"\n{SIGNER.public_key.pem}\n", base64.b64encode(der).decode()):
        assert public_key.parse(text) == SIGNER.public_key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        "Zm9v",
        base64.b64encode(bytes(31)).decode(),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        base64.b64encode(
            generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode(),
        base64.b64encode(SEED + SIGNER.public_key.raw).decode(),
    ],
    ids=["empty", "text", "short", "31 bytes", "PEM", "P-256", "64 bytes"],
)
def test_what_is_no_ed25519_public_key_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        public_key.parse(text)


@pytest.mark.parametrize("y", [0, 1, FIELD - 1, FIELD, FIELD + 1, FIELD + 5, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_public_key_anybody_can_sign_for_is_refused(y: int, sign: int) -> None:
    with pytest.raises(BadInput, match="anybody can sign"):
        PublicKey((y | sign << 255).to_bytes(32, "little"))


def doubled(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    curve = -121665 * pow(121666, -1, FIELD)
    product = curve * x * x * y * y
    return 2 * x * y * pow(1 + product, -1, FIELD) % FIELD, (y * y + x * x) * pow(1 - product, -1, FIELD) % FIELD


def test_points_of_order_eight_are_among_the_refused_keys() -> None:
    y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
    curve = -121665 * pow(121666, -1, FIELD)
    square = (y * y - 1) * pow(curve * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    x = x if x * x % FIELD == square else x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    assert doubled(doubled(doubled((x, y)))) == (0, 1) != doubled(doubled((x, y)))
    for weak in (y, FIELD - y):
        with pytest.raises(BadInput, match="anybody can sign"):
            PublicKey(weak.to_bytes(32, "little"))


def test_a_seed_and_a_private_key_name_the_same_signer() -> None:
    pair = local.from_base64(f"  {PAIR_B64}\n")
    assert pair.public_key == SIGNER.public_key
    assert pair.signer_id == SIGNER.signer_id == f"ed25519:{SIGNER.public_key.keyid[:16]}"
    assert local.from_base64(SEED_B64, "release-2026").signer_id == "release-2026"


BAD_KEYS = {
    "empty": "",
    "not base64": "c2VjcmV0IQ==?",
    "a letter too many": f"{SEED_B64[:10]}!{SEED_B64[10:]}",
    "url-safe base64": base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    "31 bytes": base64.b64encode(SEED[:31]).decode(),
    "33 bytes": base64.b64encode(SEED + b"x").decode(),
    "63 bytes": base64.b64encode((SEED + SIGNER.public_key.raw)[:63]).decode(),
    "halves of two keys": base64.b64encode(SEED + OTHER.public_key.raw).decode(),
    "twice the seed": base64.b64encode(SEED * 2).decode(),
    "not ASCII": "ключ",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_wrong_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        local.from_base64(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert not text or text not in shown
    assert "keys generate" in str(caught.value)


def test_a_generated_key_signs_and_no_two_are_equal() -> None:
    first, second = local.generate(), local.generate()
    assert first != second
    assert len(base64.b64decode(first)) == 32
    assert sign_verified(local.from_base64(first), b"message")


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "signer.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_file_may_hold_comments(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"# development key\n\n  # never for production\n{SEED_B64}\n")
    assert local.read_key_file(path) == SEED_B64
    assert load(f"file:{path}").public_key == load(f"file://{path}").public_key == SIGNER.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Misconfigured, match="chmod 600"):
        local.read_key_file(key_file(tmp_path, SEED_B64, mode))


@pytest.mark.parametrize("text", ["", "# only a comment\n", f"{SEED_B64}\n{SEED_B64}\n", "x" * 5000, f"{SEED_B64}\n" * 200])
def test_a_key_file_without_exactly_one_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        local.read_key_file(key_file(tmp_path, text))
    assert SEED_B64 not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    key_file(tmp_path, "").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", tmp_path / "signer.key"):
        with pytest.raises(Misconfigured):
            local.read_key_file(path)


@pytest.mark.parametrize("uri", ["", "env", "env:KEY", "file:", "kms:key", "ftp://host", SEED_B64])
def test_a_uri_that_names_no_signer_is_refused_without_showing_it(uri: str) -> None:
    with pytest.raises(Misconfigured, match="AI_INFRA_SIGNER_URI") as caught:
        load(uri, key_b64=SEED_B64)
    assert SEED_B64 not in str(caught.value)


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(Misconfigured, match="no signer key"):
        load("env:")


def test_a_remote_signer_needs_its_key_pinned() -> None:
    with pytest.raises(Misconfigured, match="AI_INFRA_KMS_PUBLIC_KEY_B64"):
        load("https://kms.example")
    with pytest.raises(Misconfigured, match="AI_INFRA_KMS_PUBLIC_KEY_B64 is wrong"):
        load("https://kms.example", public_key_b64="Zm9v")


@pytest.mark.parametrize(
    "uri",
    [
        "https://",
        "http://user:hunter2@kms.example",
        "https://kms.example?token=hunter2",
        "http://[kms",
        "http://kms:port",
        "http://kms:99999",
    ],
)
def test_a_remote_signer_without_a_usable_url_is_refused_without_showing_it(uri: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(uri, public_key_b64=SIGNER.public_key.base64)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_local_key_must_be_the_pinned_one() -> None:
    assert load("env:", key_b64=SEED_B64, public_key_b64=SIGNER.public_key.base64).public_key == SIGNER.public_key
    with pytest.raises(Misconfigured, match="not the one pinned"):
        load("env:", key_b64=SEED_B64, public_key_b64=OTHER.public_key.base64)


class Liar:
    """Holds one key and shows another, as a KMS with a wrong pin does."""

    signer_id = "liar"
    parallel = 1
    public_key = SIGNER.public_key

    def sign(self, message: bytes) -> bytes:
        return OTHER.sign(message)


def test_a_signature_is_never_used_before_it_verifies() -> None:
    with pytest.raises(Unavailable, match="does not verify with the pinned key") as caught:
        sign_verified(Liar(), b"message")
    assert caught.value.part == "signer"


def test_no_signer_shows_its_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with_key = settings(signer_key_b64=SEED_B64)
    signers: list[Signer] = [
        SIGNER,
        keys.configured_signer(with_key, Purpose.PROMOTION),
        load("https://kms.example", key_b64=SEED_B64, public_key_b64=SIGNER.public_key.base64),
    ]
    sign_verified(signers[1], b"message")
    shown = [text for signer in signers for text in (repr(signer), str(signer), f"{vars(signer)}")] + [repr(with_key), caplog.text]
    for secret in (SEED_B64, SEED_B64.rstrip("="), SEED.hex(), repr(SEED)[2:-1]):
        assert not any(secret in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(SIGNER)


def test_the_settings_name_the_signer(tmp_path: Path) -> None:
    path = key_file(tmp_path, SEED_B64)
    pin = SIGNER.public_key.base64
    by_uri = settings(signer_uri=f"file:{path}", kms_endpoint="https://kms.example/", kms_public_key_b64=pin, signer_key_b64="broken")
    by_kms = settings(kms_endpoint="https://kms.example/", kms_public_key_b64=pin, signer_key_b64="broken", signer_id="kms-1")
    assert repr(keys.configured_signer(by_uri, Purpose.PROMOTION)).startswith("LocalSigner")
    assert repr(keys.configured_signer(by_kms, Purpose.PROMOTION)).startswith("HttpProxySigner(endpoint='https://kms.example'")
    assert keys.configured_signer(by_kms, Purpose.PROMOTION).signer_id == "kms-1"
    assert (
        keys.configured_signer(settings(signer_key_b64=SEED_B64), Purpose.PROMOTION).signer_id == f"ed25519:{SIGNER.public_key.keyid[:16]}"
    )
    with pytest.raises(Misconfigured, match="No signer is configured"):
        keys.configured_signer(settings(), Purpose.PROMOTION)


def test_the_same_settings_give_the_same_signer() -> None:
    def configured(key: str) -> Signer:
        return keys.configured_signer(settings(signer_key_b64=key), Purpose.PROMOTION)

    assert configured(SEED_B64) is configured(SEED_B64)
    assert configured(SEED_B64) is not configured(PAIR_B64)
