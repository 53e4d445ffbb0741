"""Signer URIs as text: taking one apart, and what can be told from it without loading a signer.

    env:                                               the key in AI_INFRA_SIGNER_KEY_B64
    file:PATH                                          a key file
    http://HOST/PATH  https://HOST/PATH                a signing proxy
    awskms:KEY?region=&endpoint=                       AWS KMS
    vault:KEY?address=&mount=&version=&namespace=      HashiCorp Vault, OpenBao
    pkcs11:token=;object=?module-path=&pin-source=     a PKCS#11 token (RFC 7512)

Each takes two parameters more: `signer-id`, the name to sign under, and `public-key`, the pinned key. A percent-quoted value is
unquoted; `+` stays what it is, so base64 may stand there as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from aiinfra_core.errors import Misconfigured

_FORMS = "env:, file:PATH, http(s)://HOST, awskms:KEY, vault:KEY or pkcs11:token=…;object=…"
_ANY = "A signer's URI (AI_INFRA_SIGNER_URI, AI_INFRA_AUDIT_SIGNER_URI and the like, or one that was typed)"
_REMOTE = ("http", "https", "awskms", "vault", "pkcs11")
_PARAMETERS: dict[str, set[str]] = {
    "env": set(),
    "file": set(),
    "http": set(),
    "https": set(),
    "awskms": {"region", "endpoint"},
    "vault": {"address", "mount", "version", "namespace"},
    "pkcs11": {"module-path", "pin-source"},
}
_EVERYWHERE = {"signer-id", "public-key"}


@dataclass(frozen=True)
class SignerUri:
    """A URI taken apart: what stands between scheme and `?` is `place`, as it was written; the values of `parameters` are unquoted."""

    scheme: str
    place: str
    parameters: Mapping[str, str]


def parse(uri: str, what: str = _ANY) -> SignerUri:
    """Take a signer URI apart; `what` is how it is called in an error.

    Raises:
        Misconfigured: the scheme or a parameter is not known; only names are in the message, never a value.
    """
    scheme, separator, rest = uri.partition(":")
    place, _, query = rest.partition("?")
    if not separator or scheme not in _PARAMETERS or (scheme == "env") == bool(place):
        raise Misconfigured(f"{what} names no signer; use {_FORMS}.")
    return SignerUri(scheme, place, _parameters(query, _PARAMETERS[scheme] | _EVERYWHERE))


def is_remote(uri: str) -> bool:
    """Say whether the private key of this signer is out of this process's reach."""
    return uri.partition(":")[0] in _REMOTE


def key_file(uri: str) -> Path | None:
    """Return the file a `file:` URI names, None for any other signer."""
    scheme, _, rest = uri.partition(":")
    path = rest.partition("?")[0].removeprefix("//")
    return Path(path).expanduser() if scheme == "file" and path else None


def _parameters(query: str, known: set[str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name == "pin-value":
            raise Misconfigured("A PIN may not stand in the signer's URI: give pin-source=file:PATH, or AI_INFRA_PKCS11_PIN.")
        if name not in known or name in parameters or not value:
            raise Misconfigured(
                f"The parameter {name[:40]!r} of the signer's URI is unknown, empty or there twice; known are {', '.join(sorted(known))}."
            )
        parameters[name] = unquote(value)
    return parameters
