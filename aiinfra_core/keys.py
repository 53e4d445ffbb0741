"""Which signers the operator configured and whose signatures count here.

How signers work lives in `signing`, the rules of trust in `evidence.trust`; the development key is made in `embedded`.
"""

from functools import lru_cache

from pydantic import SecretStr

from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import Signer


def configured_signer(settings: Settings, purpose: Purpose) -> Signer:
    """Return the signer for a purpose: the purpose's own URI, else the signer URI, the KMS endpoint, or the key in the environment.

    The same settings give the same object, so that a remote signer keeps its connections.

    Raises:
        Misconfigured: none is configured, or the one that is cannot be loaded.
    """
    own: str | None = getattr(settings, f"{purpose}_signer_uri", None)
    if own is not None:
        return _loaded(own, None, None, None, settings.kms_timeout_seconds)
    uri = settings.signer_uri or settings.kms_endpoint or ("env:" if settings.signer_key_b64 else None)
    if uri is None:
        raise Misconfigured("No signer is configured: set AI_INFRA_SIGNER_KEY_B64, AI_INFRA_KMS_ENDPOINT or AI_INFRA_SIGNER_URI.")
    return _loaded(uri, settings.signer_id, settings.signer_key_b64, settings.kms_public_key_b64, settings.kms_timeout_seconds)


def audit_signer(settings: Settings) -> Signer:
    """Return the signer of audit events and checkpoints.

    Raises:
        Misconfigured: as `configured_signer`.
    """
    return configured_signer(settings, Purpose.AUDIT)


def trust_of(settings: Settings) -> Trust:
    """Return whose signatures count here: the trust root's keys, or, where none is configured, the configured signers alone.

    Raises:
        Misconfigured: neither can be loaded.
    """
    signing = (Purpose.ARTIFACT, Purpose.EVALUATION, Purpose.PROMOTION, Purpose.AUDIT)
    signers = {purpose: configured_signer(settings, purpose) for purpose in signing}
    keys = {signer.public_key.keyid: signer for signer in signers.values()}
    return Trust(
        keys=tuple(
            TrustedKey(
                keyid=keyid,
                public_key=signer.public_key.base64,
                signer_id=signer.signer_id,
                owner="operator",
                purposes=tuple(purpose for purpose in signing if signers[purpose].public_key.keyid == keyid),
            )
            for keyid, signer in keys.items()
        ),
        logs=(settings.log_origin,),
    )


@lru_cache(maxsize=16)
def _loaded(uri: str, signer_id: str | None, key: SecretStr | None, public_key_b64: str | None, timeout_seconds: float) -> Signer:
    return load(
        uri,
        signer_id=signer_id,
        key_b64=key.get_secret_value() if key else None,
        public_key_b64=public_key_b64,
        timeout_seconds=timeout_seconds,
    )
