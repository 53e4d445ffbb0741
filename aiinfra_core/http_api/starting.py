"""Whether the service may start with these settings: what is forbidden is found before the first request, and told with what to set.

How it is started does not live here, and neither do the files it needs for TLS (`tls`).
"""

import logging
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from aiinfra_core import outbound, rollout_specs
from aiinfra_core.embedded import defaults
from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api.access import debug_token, roles
from aiinfra_core.policy import files
from aiinfra_core.settings import Settings
from aiinfra_core.signing.uri import is_remote

logger = logging.getLogger(__name__)
_JWKS = "AI_INFRA_OIDC_JWKS_URL"  # some issuers have a query in it
_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


def check_may_start(settings: Settings) -> None:
    """See that these settings may be served.

    Raises:
        Misconfigured: they may not; the message says what to set, one sentence for each thing.
    """
    wrong = [*_unfinished(settings), *(_forbidden_in_production(settings) if settings.production else ())]
    if wrong:
        raise Misconfigured(" ".join(wrong))
    if (
        not settings.production
        and settings.allow_debug_token
        and not settings.addr.startswith(_LOOPBACK)
        and len(_debug_token(settings)) < debug_token.SHORT
    ):
        logger.warning("Everybody who reaches %s and guesses the short AI_INFRA_DEBUG_TOKEN may do everything.", settings.addr)


def nobody_can_write(settings: Settings) -> bool:
    """Return whether there is no way to prove who one is."""
    return not (settings.allow_debug_token or settings.oidc_issuer or _certificates_are_seen(settings))


def _refusal(check: Callable[[Settings], object], settings: Settings) -> Iterator[str]:
    try:
        check(settings)
    except Misconfigured as error:
        yield str(error)


def _unfinished(settings: Settings) -> Iterator[str]:
    yield from _refusal(roles.read, settings)
    yield from _refusal(files.check, settings)
    yield from _refusal(rollout_specs.check, settings)
    if settings.allow_debug_token and not _debug_token(settings):
        yield "AI_INFRA_ALLOW_DEBUG_TOKEN is set, so AI_INFRA_DEBUG_TOKEN must be too."
    if settings.tls_key and not settings.tls_cert:
        yield "AI_INFRA_TLS_KEY is set, so AI_INFRA_TLS_CERT must be too."
    if settings.tls_client_ca and not settings.tls_cert:
        yield "AI_INFRA_TLS_CLIENT_CA needs TLS of this service's own; set AI_INFRA_TLS_CERT and AI_INFRA_TLS_KEY."
    if settings.require_mtls and not _certificates_are_seen(settings):
        yield (
            "REQUIRE_MTLS is set, so client certificates must be seen: set AI_INFRA_TLS_CLIENT_CA, or AI_INFRA_PROXY_CERT_HEADER and "
            "AI_INFRA_TRUSTED_PROXIES."
        )
    if settings.tls_terminated_by_proxy and not settings.trusted_proxies:
        yield (
            "AI_INFRA_TLS_TERMINATED_BY_PROXY is set, so AI_INFRA_TRUSTED_PROXIES must be too: without the proxy's networks everybody "
            "behind it counts as one address, and one who guesses locks all out."
        )
    if settings.proxy_cert_header and not settings.trusted_proxies:
        yield "AI_INFRA_PROXY_CERT_HEADER is believed from proxies only; set AI_INFRA_TRUSTED_PROXIES to their networks."
    yield from _unfinished_oidc(settings)


def _unfinished_oidc(settings: Settings) -> Iterator[str]:
    if settings.oidc_issuer and not settings.oidc_audience:
        yield "AI_INFRA_OIDC_ISSUER is set, so AI_INFRA_OIDC_AUDIENCE must be too: a token for another service must not count here."
    if (settings.oidc_audience or settings.oidc_jwks_url) and not settings.oidc_issuer:
        yield "AI_INFRA_OIDC_AUDIENCE and AI_INFRA_OIDC_JWKS_URL mean nothing without AI_INFRA_OIDC_ISSUER; set it."
    if settings.oidc_keys_usable_seconds < settings.oidc_keys_refresh_seconds:
        yield "AI_INFRA_OIDC_KEYS_USABLE_SECONDS must not be less than AI_INFRA_OIDC_KEYS_REFRESH_SECONDS."
    for name, url in _addresses(settings):
        try:
            outbound.endpoint(name, url.partition("?")[0] if name == _JWKS else url)
        except Misconfigured as error:
            yield str(error)


def _forbidden_in_production(settings: Settings) -> Iterator[str]:
    if settings.allow_debug_token or _debug_token(settings):
        yield "AI_INFRA_ENV=production takes no debug token; unset AI_INFRA_ALLOW_DEBUG_TOKEN and AI_INFRA_DEBUG_TOKEN."
    vouching = settings.vouching_signer_uri or settings.signer_uris[-1]
    if not all(uri and is_remote(uri) for uri in (*settings.signer_uris, vouching)):
        yield (
            "AI_INFRA_ENV=production keeps no signing key in the service; set AI_INFRA_KMS_ENDPOINT, or each signer URI to "
            "https:, awskms:, vault: or pkcs11:."
        )
    if not (settings.oidc_issuer or _certificates_are_seen(settings)):
        yield (
            "AI_INFRA_ENV=production needs a way to know who asks; set AI_INFRA_OIDC_ISSUER and AI_INFRA_OIDC_AUDIENCE, or "
            "AI_INFRA_TLS_CLIENT_CA for client certificates."
        )
    if not (settings.tls_cert or settings.tls_terminated_by_proxy):
        yield (
            "AI_INFRA_ENV=production needs TLS; set AI_INFRA_TLS_CERT and AI_INFRA_TLS_KEY, or AI_INFRA_TLS_TERMINATED_BY_PROXY=true "
            "where nobody but a proxy that speaks TLS can reach this service."
        )
    if settings.runner and not settings.prefect_deployment:
        yield (
            "AI_INFRA_ENV=production runs no trainings as the service's account, whose keys they could use; leave out --run-runner and "
            "AI_INFRA_RUNNER, and run aiinfra runner under an account and with keys of its own."
        )
    for name, url in _addresses(settings):
        if urlsplit(url).scheme != "https":
            yield f"AI_INFRA_ENV=production takes keys over https alone; write {name} with https://."
    yield from _refusal(defaults.refuse_development_parts, settings)


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.oidc_issuer:
        yield "AI_INFRA_OIDC_ISSUER", settings.oidc_issuer
    if settings.oidc_jwks_url:
        yield _JWKS, settings.oidc_jwks_url


def _certificates_are_seen(settings: Settings) -> bool:
    return bool(settings.tls_client_ca or (settings.proxy_cert_header and settings.trusted_proxies))


def _debug_token(settings: Settings) -> str:
    return settings.debug_token.get_secret_value() if settings.debug_token else ""
