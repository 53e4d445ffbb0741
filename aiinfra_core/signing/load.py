"""From a signer URI to a signer; each back end is imported only when it is asked for.

`env:` takes the key that is passed in, `file:PATH` reads it, `http://` and `https://` ask a signing proxy.
"""

from pathlib import Path

from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer


def load(
    uri: str,
    *,
    signer_id: str | None = None,
    key_b64: str | None = None,
    public_key_b64: str | None = None,
    timeout_seconds: float = 5.0,
) -> Signer:
    """Return the signer a URI names.

    Args:
        uri: `env:`, `file:PATH`, `http://…` or `https://…`.
        signer_id: the name to sign under; without one it is made of the public key.
        key_b64: the private key, for `env:` only.
        public_key_b64: the pinned public key; needed by a remote signer, checked against a local one when given.
        timeout_seconds: bounds one attempt of a remote signer.

    Raises:
        Misconfigured: the URI, a key or the pin is missing or wrong.
    """
    pinned = _pinned(public_key_b64)
    scheme, _, rest = uri.partition(":")
    if scheme in ("http", "https"):
        return _http(uri, pinned, signer_id, timeout_seconds)
    if uri == "env:":
        return _local(key_b64, pinned, signer_id)
    if scheme == "file" and rest:
        return _local(_key_in(rest), pinned, signer_id)
    raise Misconfigured("AI_INFRA_SIGNER_URI names no signer; use env:, file:PATH, http://HOST or https://HOST.")


def _http(uri: str, pinned: PublicKey | None, signer_id: str | None, timeout_seconds: float) -> Signer:
    from aiinfra_core import outbound
    from aiinfra_core.signing.http_proxy import HttpProxySigner

    endpoint = outbound.endpoint("The signer's URL", uri)
    if pinned is None:
        raise Misconfigured("A remote signer needs its key pinned: set AI_INFRA_KMS_PUBLIC_KEY_B64.")
    return HttpProxySigner(endpoint, pinned, signer_id, outbound.Patience(timeout_seconds))


def _key_in(path: str) -> str:
    from aiinfra_core.signing import local

    return local.read_key_file(Path(path.removeprefix("//")).expanduser())


def _local(key_b64: str | None, pinned: PublicKey | None, signer_id: str | None) -> Signer:
    from aiinfra_core.signing import local

    if not key_b64:
        raise Misconfigured("There is no signer key: set AI_INFRA_SIGNER_KEY_B64, or AI_INFRA_KMS_ENDPOINT for a KMS.")
    signer = local.from_base64(key_b64, signer_id)
    if pinned is not None and pinned != signer.public_key:
        raise Misconfigured("The signer key is not the one pinned in AI_INFRA_KMS_PUBLIC_KEY_B64; correct one of them.")
    return signer


def _pinned(text: str | None) -> PublicKey | None:
    try:
        return public_key.parse(text) if text else None
    except BadInput as error:
        raise Misconfigured(f"AI_INFRA_KMS_PUBLIC_KEY_B64 is wrong: {error}") from None
