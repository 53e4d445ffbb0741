"""From a signer URI to a signer; each back end is imported only when it is asked for. The forms of the URI are in `signing.uri`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from aiinfra_core.domain.record import Actor
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.signing import public_key, uri
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer, default_signer_id
from aiinfra_core.signing.uri import SignerUri

if TYPE_CHECKING:
    from aiinfra_core.outbound import Patience

_SIGNER_ID = TypeAdapter[str](Actor)


@dataclass(frozen=True)
class _Asked:
    uri: SignerUri
    pinned: PublicKey | None
    signer_id: str | None
    key_b64: str | None
    timeout_seconds: float

    def __getitem__(self, name: str) -> str | None:
        return self.uri.parameters.get(name)

    @property
    def patience(self) -> "Patience":
        from aiinfra_core.outbound import Patience

        return Patience(self.timeout_seconds)


def load(
    signer_uri: str,
    *,
    signer_id: str | None = None,
    key_b64: str | None = None,
    public_key_b64: str | None = None,
    timeout_seconds: float = 5.0,
) -> Signer:
    """Return the signer a URI names.

    Args:
        signer_uri: one of the forms in `signing.uri`.
        signer_id: the name to sign under, where the URI gives none; without either it is made of the public key.
        key_b64: the private key, for `env:` only.
        public_key_b64: the pinned key, where the URI gives none; needed by a signer whose key is elsewhere, checked against a local one.
        timeout_seconds: bounds one attempt of a signer whose key is elsewhere.

    Raises:
        Misconfigured: the URI, a key or the pin is missing or wrong, or the back end's package is not installed.
    """
    parsed = uri.parse(signer_uri)
    given = parsed.parameters
    pinned = _pinned("public-key= in the signer's URI", given.get("public-key")) or _pinned("AI_INFRA_KMS_PUBLIC_KEY_B64", public_key_b64)
    name = _checked(given.get("signer-id") or signer_id)
    return _BACK_ENDS[parsed.scheme](_Asked(parsed, pinned, name, key_b64, timeout_seconds))


def _checked(signer_id: str | None) -> str | None:
    try:
        return _SIGNER_ID.validate_python(signer_id) if signer_id else None
    except ValidationError:
        raise Misconfigured("The signer's name (AI_INFRA_SIGNER_ID or signer-id=) must be 1 to 256 visible ASCII letters.") from None


def _pinned(setting: str, text: str | None) -> PublicKey | None:
    try:
        return public_key.parse(text) if text else None
    except BadInput as error:
        raise Misconfigured(f"{setting} is wrong: {error}") from None


def _pin_and_name(asked: _Asked) -> tuple[PublicKey, str]:
    if asked.pinned is None:
        raise Misconfigured(
            "A signer whose key is elsewhere needs it pinned: add public-key=BASE64 to its URI, or set AI_INFRA_KMS_PUBLIC_KEY_B64."
        )
    return asked.pinned, asked.signer_id or default_signer_id(asked.pinned)


def _environment(asked: _Asked) -> Signer:
    if not asked.key_b64:
        raise Misconfigured("There is no signer key: set AI_INFRA_SIGNER_KEY_B64, or AI_INFRA_KMS_ENDPOINT for a KMS.")
    return _local(asked.key_b64, asked)


def _file(asked: _Asked) -> Signer:
    from aiinfra_core.signing import local

    path = uri.key_file(f"file:{asked.uri.place}")
    if path is None:
        raise Misconfigured("A signer's URI names no signer: file: needs the path of a key file.")
    return _local(local.read_key_file(path), asked)


def _local(key_b64: str, asked: _Asked) -> Signer:
    from aiinfra_core.signing import local

    signer = local.from_base64(key_b64, asked.signer_id)
    if asked.pinned is not None and asked.pinned != signer.public_key:
        raise Misconfigured("The signer key is not the one pinned; correct the key, AI_INFRA_KMS_PUBLIC_KEY_B64 or public-key=.")
    return signer


def _proxy(asked: _Asked) -> Signer:
    from aiinfra_core import outbound
    from aiinfra_core.signing.http_proxy import HttpProxySigner

    url = outbound.endpoint("The signer's URL", f"{asked.uri.scheme}:{asked.uri.place}")
    pinned, _ = _pin_and_name(asked)
    return HttpProxySigner(url, pinned, asked.signer_id, asked.patience)


def _aws_kms(asked: _Asked) -> Signer:
    try:
        from aiinfra_core.signing.aws_kms import AwsKmsSigner
    except ImportError as error:
        raise _missing("aws-kms", error) from None
    from aiinfra_core import outbound

    pinned, name = _pin_and_name(asked)
    url = asked["endpoint"] and outbound.endpoint("endpoint= in the signer's URI", asked["endpoint"])
    return AwsKmsSigner(unquote(asked.uri.place), pinned, name, asked["region"], url, asked.patience)


def _vault(asked: _Asked) -> Signer:
    from aiinfra_core import outbound
    from aiinfra_core.signing.vault import VaultSigner, default_address

    address = asked["address"] or default_address()
    if not address:
        raise Misconfigured("A vault: signer needs its server: add address=https://… to its URI, or set VAULT_ADDR.")
    pinned, name = _pin_and_name(asked)
    return VaultSigner(
        outbound.endpoint("The address of Vault", address),
        unquote(asked.uri.place),
        pinned,
        name,
        mount=asked["mount"] or "transit",
        version=_version(asked["version"]),
        namespace=asked["namespace"],
        patience=asked.patience,
    )


def _version(text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise Misconfigured("version= in the signer's URI is no version of a key; versions count from 1.")
    return int(text) if text else None


def _pkcs11(asked: _Asked) -> Signer:
    try:
        from aiinfra_core.signing.pkcs11 import Pkcs11Signer, key_name
    except ImportError as error:
        raise _missing("pkcs11", error) from None
    pinned, name = _pin_and_name(asked)
    return Pkcs11Signer(key_name(asked.uri.place, asked.uri.parameters), pinned, name, asked.timeout_seconds)


def _missing(extra: str, error: ImportError) -> Misconfigured:
    return Misconfigured(f"This signer needs a package that is not here ({error.name}): pip install 'ai-infrastructure[{extra}]'")


_BACK_ENDS: dict[str, Callable[[_Asked], Signer]] = {
    "env": _environment,
    "file": _file,
    "http": _proxy,
    "https": _proxy,
    "awskms": _aws_kms,
    "vault": _vault,
    "pkcs11": _pkcs11,
}
