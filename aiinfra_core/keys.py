"""Which signers the operator configured and whose signatures count here.

How signers work lives in `signing`, the rules of trust in `evidence.trust`, reading trust files in `trust_directory`; the
development key is made in `embedded`.
"""

from datetime import UTC, datetime
from functools import lru_cache

from pydantic import SecretStr

from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence.trust import objection
from aiinfra_core.settings import Settings
from aiinfra_core.signing.load import load
from aiinfra_core.signing.signer import Signer
from aiinfra_core.signing.uri import is_remote, parse

SIGNED_HERE = (Purpose.ARTIFACT, Purpose.EVALUATION, Purpose.PROMOTION, Purpose.AUDIT)
"""What every installation signs. It vouches for approvers only where a trust root lists its key for that, or there is no trust root."""
WITH_VOUCHING = (*SIGNED_HERE, Purpose.VOUCHING)


def configured_signer(settings: Settings, purpose: Purpose, environment: str | None = None) -> Signer:
    """Return the signer for a purpose, if its signatures will count; where a trust root is set that of audit events must count too.

    Raises:
        Misconfigured: none is configured, the one that is cannot be loaded, or the trust root does not list its key for this, or the log.
        EvidenceBroken: the trust root does not verify.
    """
    signer = loaded_signer(settings, purpose)
    if settings.trust_root is not None:
        trust = trust_of(settings)
        if settings.log_origin not in trust.logs:
            raise Misconfigured(
                f"The trust root does not list the log {settings.log_origin}, and nobody would accept its checkpoints: correct"
                f" AI_INFRA_LOG_ORIGIN, or list it with: aiinfra trust renew --log {settings.log_origin}"
            )
        _check_listed(settings, trust, signer, purpose, environment)
        _check_listed(settings, trust, loaded_signer(settings, Purpose.AUDIT), Purpose.AUDIT, None)
    return signer


def audit_signer(settings: Settings) -> Signer:
    """Return the signer of audit events and checkpoints.

    Raises:
        Misconfigured, EvidenceBroken: as `configured_signer`.
    """
    return configured_signer(settings, Purpose.AUDIT)


def loaded_signer(settings: Settings, purpose: Purpose) -> Signer:
    """Return the signer for a purpose, whether or not its signatures count: to show it, or to list its key.

    It is the purpose's own URI, else the signer URI, the KMS endpoint, or the key in the environment. The same settings give the same
    object, so that a remote signer keeps its connections.

    Raises:
        Misconfigured: none is configured, or the one that is cannot be loaded.
    """
    own: str | None = getattr(settings, f"{purpose}_signer_uri", None)
    if own is not None:
        return signer_at(settings, own)
    uri = settings.signer_uri or settings.kms_endpoint or ("env:" if settings.signer_key_b64 else None)
    if uri is None:
        raise Misconfigured("No signer is configured: set AI_INFRA_SIGNER_KEY_B64, AI_INFRA_KMS_ENDPOINT or AI_INFRA_SIGNER_URI.")
    pin = settings.kms_public_key_b64 or _listed_pin(settings, uri)
    return _loaded(uri, settings.signer_id, settings.signer_key_b64, pin, settings.kms_timeout_seconds)


def signer_at(settings: Settings, uri: str) -> Signer:
    """Return the signer of a URI that says everything itself.

    `env:` is the key in the environment; a signer elsewhere that pins no key has the one the trust root lists under its name.

    Raises:
        Misconfigured: it cannot be loaded.
    """
    key = settings.signer_key_b64 if uri == "env:" else None
    return _loaded(uri, None, key, _listed_pin(settings, uri), settings.kms_timeout_seconds)


def trust_of(settings: Settings) -> Trust:
    """Return whose signatures count here: the trust root's keys, or, where none is configured, the configured signers alone.

    Raises:
        Misconfigured: neither can be loaded, or the trust root has expired.
        EvidenceBroken: the trust root does not verify, or is older than one this process has seen.
    """
    if settings.trust_root is not None:
        from aiinfra_core import trust_directory  # tuf takes a while to import: only where there is a trust root

        return trust_directory.opened(settings.trust_root).trust
    return Trust(keys=signers_as_keys(settings, "operator", WITH_VOUCHING), logs=(settings.log_origin,))


def signers_as_keys(settings: Settings, owner: str, purposes: tuple[Purpose, ...] = SIGNED_HERE) -> tuple[TrustedKey, ...]:
    """Return the configured signers as entries of a trust: each key once, for all its purposes, in every environment.

    Raises:
        Misconfigured: as `loaded_signer`.
    """
    return _as_keys(tuple(loaded_signer(settings, purpose) for purpose in purposes), purposes, owner)


# Asked for at each verification; the signers are the same objects as long as the settings are.
@lru_cache(maxsize=16)
def _as_keys(signers: tuple[Signer, ...], purposes: tuple[Purpose, ...], owner: str) -> tuple[TrustedKey, ...]:
    keys = {signer.public_key.keyid: signer for signer in signers}
    return tuple(
        TrustedKey(
            keyid=keyid,
            public_key=signer.public_key.base64,
            signer_id=signer.signer_id,
            owner=owner,
            purposes=tuple(purpose for purpose, one in zip(purposes, signers, strict=True) if one.public_key.keyid == keyid),
        )
        for keyid, signer in keys.items()
    )


def _listed_pin(settings: Settings, uri: str) -> str | None:
    if settings.trust_root is None or not is_remote(uri):
        return None
    given = parse(uri).parameters
    if "public-key" in given or "signer-id" not in given:
        return None
    named = [entry.public_key for entry in trust_of(settings).keys if entry.signer_id == given["signer-id"]]
    return named[0] if len(named) == 1 else None


def _check_listed(settings: Settings, trust: Trust, signer: Signer, purpose: Purpose, environment: str | None) -> None:
    key = signer.public_key
    entry = next((one for one in trust.keys if one.keyid == key.keyid), None)
    problem = "it is not in the trust root."
    if entry is not None:
        problem = objection(entry, purpose, at=datetime.now(UTC), index=None, environment=environment) or ""
    if problem:
        raise Misconfigured(
            f"The key {key.keyid[:16]} of {signer.signer_id} must not sign for the purpose {purpose}, nobody would accept it:"
            f" {problem} {_way_out(settings, trust, key.keyid, purpose)}"
        )


def _way_out(settings: Settings, trust: Trust, keyid: str, purpose: Purpose) -> str:
    known = next((entry for entry in trust.keys if entry.keyid == keyid), None)
    if known is not None and purpose in known.purposes:
        return "Configure a signer whose key counts here; look with: aiinfra trust show"
    needed = tuple(dict.fromkeys((*SIGNED_HERE, purpose)))
    wanted = next(entry for entry in signers_as_keys(settings, "operator", needed) if entry.keyid == keyid)
    purposes = " ".join(f"--purpose {one}" for one in dict.fromkeys((*(known.purposes if known else ()), *wanted.purposes)))
    more = " --replace" if known else ""
    return f"List it with: aiinfra trust add-key {wanted.public_key} --signer-id {wanted.signer_id} {purposes}{more}"


@lru_cache(maxsize=16)
def _loaded(uri: str, signer_id: str | None, key: SecretStr | None, public_key_b64: str | None, timeout_seconds: float) -> Signer:
    return load(
        uri,
        signer_id=signer_id,
        key_b64=key.get_secret_value() if key else None,
        public_key_b64=public_key_b64,
        timeout_seconds=timeout_seconds,
    )
