"""PKCS#11 against SoftHSM: PINs, lost sessions and tokens that hang; what it shares with the other signers is in `test_signers`."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.signing import pkcs11 as back_end
from aiinfra_core.signing import public_key
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import sign_many, sign_verified
from tests.simulators.signers import pinned, public_key_of
from tests.simulators.softhsm import MODULE, PIN, SoftHsm

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
# Takes the lock every look at the token asks for, says so, and holds it until its input ends.
HOLD_LOCKS = """
import fcntl, sys
from pathlib import Path
held = [open(path, "r+b") for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
for file in held:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def uri(softhsm: SoftHsm) -> str:
    return softhsm.put(softhsm.new_token(), KEY)


@contextmanager
def hanging(softhsm: SoftHsm) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", HOLD_LOCKS, softhsm.tokens], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.communicate()


def test_a_pin_from_the_environment_is_used(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    token = softhsm.new_token()
    softhsm.put(token, KEY)
    signer = pinned(softhsm.uri(token), KEY)
    with pytest.raises(Misconfigured, match=r"NoSuchKey.*pin-source or set AI_INFRA_PKCS11_PIN"):
        sign_verified(signer, b"message")
    monkeypatch.setenv("AI_INFRA_PKCS11_PIN", PIN)
    assert sign_verified(signer, b"message")


def test_a_wrong_pin_is_tried_once_so_that_the_token_does_not_lock(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    token = softhsm.new_token()
    softhsm.put(token, KEY)
    for pin in ("hunter2", "hunter2", PIN):
        monkeypatch.setenv("AI_INFRA_PKCS11_PIN", pin)
        with pytest.raises(Misconfigured, match=r"PinIncorrect.*not tried again") as caught:
            sign_verified(pinned(softhsm.uri(token), KEY), b"message")
        assert "hunter2" not in str(caught.value)


def test_two_keys_of_one_token_sign_in_turns(softhsm: SoftHsm) -> None:
    token = softhsm.new_token()
    first, second = pinned(softhsm.put(token, KEY, "first"), KEY), pinned(softhsm.put(token, OTHER, "second"), OTHER)
    for number in range(3):
        assert sign_verified(first, b"message %d" % number)
        assert sign_verified(second, b"message %d" % number)


def test_lost_sessions_are_opened_and_logged_in_anew(uri: str) -> None:
    signer = pinned(uri, KEY)
    assert sign_verified(signer, b"message")
    pkcs11.lib(str(MODULE)).reinitialize()
    assert sign_verified(signer, b"message")


def test_a_token_that_was_logged_out_is_logged_in_anew(uri: str, softhsm: SoftHsm) -> None:
    signer = pinned(uri, KEY)
    assert sign_verified(signer, b"message")
    back_end._logins[-1].close()
    assert sign_verified(signer, b"message")


def test_a_token_that_hangs_is_left_in_time_and_used_again_later(uri: str, softhsm: SoftHsm) -> None:
    patient, signer = pinned(uri, KEY), pinned(uri, KEY, 0.3)
    assert sign_verified(patient, b"message")
    with hanging(softhsm):
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(Unavailable, match=r"did not sign within 0\.3 s") as caught:
                sign_many(signer, [b"message 1", b"message 2"])
            assert time.monotonic() - started < 2
        assert caught.value.part == "signer"
        assert sum(thread.name == "outbound" for thread in threading.enumerate()) <= 2
    assert sign_verified(patient, b"message")


def test_a_forked_process_signs_with_sessions_of_its_own(uri: str) -> None:
    script = f"""
import os, sys
from aiinfra_core.signing import pkcs11
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import sign_verified
signer = load({uri!r} + "&public-key={public_key_of(KEY).base64}")
sign_verified(signer, b"parent")
pkcs11._turn.acquire()  # as another thread does that signs just then
child = os.fork()
if child == 0:
    sign_verified(signer, b"child")
    os._exit(0)
pkcs11._turn.release()
sign_verified(signer, b"parent")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_key_made_in_the_token_is_pinned_as_pkcs11_tool_shows_it(softhsm: SoftHsm, tmp_path: Path) -> None:
    token = softhsm.new_token()
    softhsm.put(token, OTHER, "another")
    library = pkcs11.lib(str(MODULE))
    library.reinitialize()
    with library.get_token(token_label=token).open(user_pin=PIN, rw=True) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("1.3.101.112")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC_EDWARDS, curve, local=True)
        public, _ = parameters.generate_keypair(mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="made inside")
        raw = public[pkcs11.Attribute.EC_POINT][-32:]
    signer = load(
        f"{softhsm.uri(token, 'made inside')}&pin-source=file:{softhsm.pin_file}", public_key_b64=public_key.PublicKey(raw).base64
    )
    assert sign_verified(signer, b"message")


WRONG = {
    "no such token": ("pkcs11:token=nobody;object=release", "NoSuchToken"),
    "no such key": ("pkcs11:token={token};object=nobody", "NoSuchKey"),
    "no such id": ("pkcs11:token={token};id=%00%ff", "NoSuchKey"),
    "two keys": ("pkcs11:token={token};object=release", "MultipleObjectsReturned"),
}


@pytest.mark.parametrize(("path", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_the_token_does_not_have_is_told(softhsm: SoftHsm, path: str, why: str) -> None:
    token = softhsm.new_token()
    softhsm.put(token, KEY)
    softhsm.put(token, OTHER)
    signer = pinned(f"{path.format(token=token.replace(' ', '%20'))}?module-path={MODULE}&pin-source={softhsm.pin_file}", KEY)
    with pytest.raises(Misconfigured, match=why):
        sign_verified(signer, b"message")


def test_a_module_that_is_missing_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "module.so").write_text("no library")
    for module in (tmp_path / "missing.so", tmp_path / "module.so"):
        with pytest.raises(Misconfigured, match="does not load"):
            sign_verified(pinned(f"pkcs11:token=a;object=b?module-path={module}", KEY), b"message")


def test_a_pin_file_that_others_can_read_or_that_is_missing_is_told(softhsm: SoftHsm, tmp_path: Path) -> None:
    token = softhsm.new_token()
    softhsm.put(token, KEY)
    path = tmp_path / "pin"
    path.write_text(PIN)
    path.chmod(0o644)
    for source, why in ((path, "chmod 640"), (tmp_path / "missing", "FileNotFoundError")):
        with pytest.raises(Misconfigured, match=why):
            sign_verified(pinned(f"{softhsm.uri(token)}&pin-source=file:{source}", KEY), b"message")


WRONG_URIS = {
    "pkcs11:token=a?module-path=/m.so": "its key",
    "pkcs11:object=a?module-path=/m.so": "its token",
    "pkcs11:token=a;object=b": "module-path=",
    "pkcs11:token=a;object=b;type=public?module-path=/m.so": "type=private",
    "pkcs11:token=a;token=b;object=c?module-path=/m.so": "'token'.*twice",
    "pkcs11:token=a;slot-id=hunter2;object=c?module-path=/m.so": "'slot-id'.*unknown",
    "pkcs11:token=a;object=b?module-path=/m.so&pin-value=hunter2": "PIN may not stand",
    "pkcs11:hunter2?module-path=/m.so": "unknown",
}


@pytest.mark.parametrize(("uri", "why"), WRONG_URIS.items())
def test_a_uri_that_names_no_key_is_refused_without_showing_it(uri: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as caught:
        pinned(uri, KEY)
    assert "hunter2" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pkcs11") or name == "aiinfra_core.signing.pkcs11"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(Misconfigured, match=r"pip install 'ai-infrastructure\[pkcs11\]'"):
        pinned(f"pkcs11:token=a;object=b?module-path={MODULE}", KEY)
