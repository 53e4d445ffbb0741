"""A signer in a PKCS#11 token (HSM, smart card, SoftHSM), named by an RFC 7512 URI: EDDSA over the message itself.

The PIN comes from the URI's pin-source (a file) or from AI_INFRA_PKCS11_PIN, and is read to log in only. Needs the extra `pkcs11`.
"""

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error
from pkcs11 import exceptions as refusals

from aiinfra_core.errors import AiInfraError, Misconfigured, Unavailable
from aiinfra_core.outbound import within
from aiinfra_core.signing import secret_file
from aiinfra_core.signing.public_key import PublicKey

_ATTRIBUTES = ("token", "serial", "object", "id", "type")
_PIN_SETTING = "AI_INFRA_PKCS11_PIN"
_PIN_WAY_OUT = f"name its file in pin-source or set {_PIN_SETTING}"
_WRONG_PIN = "the PIN is wrong; it is not tried again, so that the token does not lock: mend it and start anew"
_NO_EDDSA = "key or token do not sign with EDDSA"
_REFUSALS: dict[type[PKCS11Error], str] = {
    refusals.NoSuchToken: "there is no such token; check token=, serial= and what the module sees",
    refusals.MultipleTokensReturned: "several tokens fit; name one by serial=",
    refusals.NoSuchKey: f"it shows no such Ed25519 key; check object= and id=, and for the PIN {_PIN_WAY_OUT}",
    refusals.MultipleObjectsReturned: "several keys fit; name one by id=",
    refusals.UserNotLoggedIn: f"it asks for a PIN; {_PIN_WAY_OUT}",
    refusals.UserPinNotInitialized: "it has no user PIN yet; set one",
    refusals.PinIncorrect: _WRONG_PIN,
    refusals.PinInvalid: _WRONG_PIN,
    refusals.PinLenRange: _WRONG_PIN,
    refusals.PinExpired: "the PIN has expired; set a new one",
    refusals.PinLocked: "it is locked after wrong PINs; its security officer can unlock it",
    refusals.MechanismInvalid: _NO_EDDSA,
    refusals.KeyTypeInconsistent: _NO_EDDSA,
    refusals.FunctionNotSupported: _NO_EDDSA,
}


@dataclass(frozen=True)
class KeyName:
    """Which key of which token, as in the path of the URI; the PIN is not in it, only where to read it."""

    module: str
    token: str | None
    serial: bytes | None
    label: str | None
    id: bytes | None
    pin_source: Path | None


@dataclass(frozen=True)
class Pkcs11Signer:
    """Signs with a private key of a token, one signature at a time.

    Safe to use from several threads; a lost session is opened and logged in anew.
    """

    name: KeyName
    public_key: PublicKey
    signer_id: str
    timeout_seconds: float = 5.0
    parallel = 1

    def sign(self, message: bytes) -> bytes:
        """Return the token's signature over the message.

        Raises:
            Unavailable: `signer`; the token does not answer in time, or fails.
            Misconfigured: module, token, key or PIN are missing or wrong.
        """
        try:
            return within(self.timeout_seconds, lambda: _signed(self.name, message, self.timeout_seconds))
        except TimeoutError:
            raise Unavailable("signer", f"The PKCS#11 token did not sign within {self.timeout_seconds:g} s; check the device.") from None
        except PKCS11Error as error:
            raise _refused(error) from None


def key_name(path: str, query: Mapping[str, str]) -> KeyName:
    """Read the path of a `pkcs11:` URI as it was written, and its unquoted query; attributes nothing is done with are refused.

    Raises:
        Misconfigured: naming the attribute that is missing, unknown or written wrongly.
    """
    attributes = _attributes(path)
    if attributes.get("type", "private") != "private":
        raise Misconfigured("A pkcs11: signer is a private key; write type=private or leave it out.")
    if not attributes.keys() & {"object", "id"} or not attributes.keys() & {"token", "serial"}:
        raise Misconfigured("A pkcs11: signer needs its token (token= or serial=) and its key (object= or id=).")
    if "module-path" not in query:
        raise Misconfigured("A pkcs11: signer needs module-path=, the library of the token, such as /usr/lib/softhsm/libsofthsm2.so.")
    source = query.get("pin-source", "").removeprefix("file:").removeprefix("//")
    return KeyName(
        module=query["module-path"],
        token=unquote(attributes["token"]) if "token" in attributes else None,
        serial=unquote_to_bytes(attributes["serial"]) if "serial" in attributes else None,
        label=unquote(attributes["object"]) if "object" in attributes else None,
        id=unquote_to_bytes(attributes["id"]) if "id" in attributes else None,
        pin_source=Path(source) if source else None,
    )


def _attributes(path: str) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for part in path.split(";"):
        name, separator, value = part.partition("=")
        if name not in _ATTRIBUTES or not value or name in attributes:
            raise Misconfigured(
                f"The attribute {name[:40] if separator else ''!r} of the pkcs11: signer is unknown, empty or there twice;"
                f" those known are {', '.join(_ATTRIBUTES)}."
            )
        attributes[name] = value
    return attributes


# A module counts its login per process, and python-pkcs11 initialises it for one thread at a time: so this is kept per process too.
_turn = threading.Lock()
_keys: dict[KeyName, Any] = {}
_logins: list[pkcs11.Session] = []
_wrong_pins: set[tuple[str, bytes]] = set()


def _signed(name: KeyName, message: bytes, seconds: float) -> bytes:
    turn = _turn
    if not turn.acquire(timeout=seconds):
        raise TimeoutError
    try:
        if (key := _keys.pop(name, None)) is not None:
            with suppress(PKCS11Error):
                return _sign(name, key, message)
        return _signed_anew(name, message)
    finally:
        turn.release()


def _signed_anew(name: KeyName, message: bytes) -> bytes:
    token = _token(name)
    try:
        return _sign(name, _key(token, name), message)
    except (refusals.NoSuchKey, refusals.UserNotLoggedIn):
        if (pin := _pin(name)) is None:
            raise
    _log_in(name, token, pin)
    return _sign(name, _key(token, name), message)


def _sign(name: KeyName, key: Any, message: bytes) -> bytes:
    try:
        signature: bytes = key.sign(message, mechanism=Mechanism.EDDSA)
    except PKCS11Error:
        _close(key.session)
        raise
    _keys[name] = key
    return signature


def _key(token: pkcs11.Token, name: KeyName) -> Any:
    wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.LABEL: name.label}
    session = token.open()
    try:
        # All of them: a search that is not read to its end cannot be ended cleanly.
        found = list(session.get_objects({key: value for key, value in (wanted | {Attribute.ID: name.id}).items() if value is not None}))
    except PKCS11Error:
        _close(session)
        raise
    if len(found) != 1:
        _close(session)
        raise refusals.MultipleObjectsReturned if found else refusals.NoSuchKey
    return found[0]


def _token(name: KeyName) -> pkcs11.Token:
    try:
        library = pkcs11.lib(name.module)
    except PKCS11Error as error:
        raise Misconfigured(f"The PKCS#11 module {name.module} does not load ({type(error).__name__}); check module-path.") from None
    wanted = {"token_label": name.token, "token_serial": name.serial}
    with suppress(refusals.NoSuchToken):
        return library.get_token(**wanted)
    # Modules that look for tokens only when they start find one put in later this way.
    _keys.clear()
    _logins.clear()
    library.reinitialize()
    return library.get_token(**wanted)


# The session that logged in stays open: closing it would log out every session of the token.
def _log_in(name: KeyName, token: pkcs11.Token, pin: str) -> None:
    if (name.module, token.serial) in _wrong_pins:
        raise refusals.PinIncorrect
    try:
        _logins.append(token.open(user_pin=pin))
    except refusals.UserAlreadyLoggedIn:
        return
    except (refusals.PinIncorrect, refusals.PinInvalid, refusals.PinLenRange):
        _wrong_pins.add((name.module, token.serial))
        raise


def _close(session: pkcs11.Session) -> None:
    with suppress(PKCS11Error):
        session.close()


def _pin(name: KeyName) -> str | None:
    if name.pin_source is not None:
        return secret_file.read(name.pin_source, "PIN file", _PIN_WAY_OUT, closed_to=0o007).strip()
    return os.environ.get(_PIN_SETTING)


def _refused(error: PKCS11Error) -> AiInfraError:
    kind = type(error).__name__
    if type(error) in _REFUSALS:
        return Misconfigured(f"The PKCS#11 token refused to sign ({kind}): {_REFUSALS[type(error)]}.")
    return Unavailable("signer", f"The PKCS#11 token failed ({kind}); check the device.")


# Sessions do not survive a fork, and a lock somebody else held would never be released.
def _begin_anew() -> None:
    global _turn
    _turn = threading.Lock()
    _keys.clear()
    _logins.clear()
    for library in list(pkcs11._loaded.values()):
        with suppress(PKCS11Error):
            library.finalize()


os.register_at_fork(after_in_child=_begin_anew)
