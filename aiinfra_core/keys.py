"""Which signer the operator configured. How signers work lives in `signing`; the development key is made in `embedded`."""

from functools import lru_cache

from pydantic import SecretStr

from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings
from aiinfra_core.signing.load import load
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer


def configured_signer(settings: Settings) -> Signer:
    """Return the signer of the settings: the signer URI, else the KMS endpoint, else the key in the environment.

    The same settings give the same object, so that a remote signer keeps its connections.

    Raises:
        Misconfigured: none is configured, or the one that is cannot be loaded.
    """
    uri = settings.signer_uri or settings.kms_endpoint or ("env:" if settings.signer_key_b64 else None)
    if uri is None:
        raise Misconfigured("No signer is configured: set AI_INFRA_SIGNER_KEY_B64, AI_INFRA_KMS_ENDPOINT or AI_INFRA_SIGNER_URI.")
    return _loaded(uri, settings.signer_id, settings.signer_key_b64, settings.kms_public_key_b64, settings.kms_timeout_seconds)


def trusted_keys(settings: Settings) -> dict[str, PublicKey]:
    """Return keyid -> public key of everybody whose statements count here: today the configured signer alone."""
    key = configured_signer(settings).public_key
    return {key.keyid: key}


def trusted_signers(settings: Settings) -> dict[str, PublicKey]:
    """Return signer id -> public key of everybody who may sign audit events: today the configured signer alone."""
    signer = configured_signer(settings)
    return {signer.signer_id: signer.public_key}


@lru_cache(maxsize=16)
def _loaded(uri: str, signer_id: str | None, key: SecretStr | None, public_key_b64: str | None, timeout_seconds: float) -> Signer:
    return load(
        uri,
        signer_id=signer_id,
        key_b64=key.get_secret_value() if key else None,
        public_key_b64=public_key_b64,
        timeout_seconds=timeout_seconds,
    )
