"""The public keys of the OIDC issuer: fetched when first needed, again when they age or an unknown one is named, and not believed for ever.

What a token must say to count is decided in `oidc`.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from jwt import PyJWK, PyJWTError

from aiinfra_core import canonical_json, outbound
from aiinfra_core.errors import AiInfraError, Unavailable
from aiinfra_core.settings import Settings

PART = "identity_provider"
logger = logging.getLogger(__name__)
_PATIENCE = outbound.Patience(timeout_seconds=3.0, attempts=2)
_PAUSE_SECONDS = 5.0  # between two attempts: whoever invents key ids must not make us fetch without end
_MAX_BYTES = 512 * 1024
_KINDS: dict[str, tuple[str, str | None]] = {  # algorithm: the type and curve its keys have
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
Keys = Mapping[tuple[str | None, str], tuple[PyJWK, ...]]  # by key id and algorithm


class IssuerKeys:
    """The keys of one issuer; `changes` counts how often they were others than before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: Keys = {}
        self._told: Any = None
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self._beside: asyncio.Task[None] | None = None
        self.changes = 0

    def usable(self) -> bool:
        """Say whether the keys are young enough to be believed; start to fetch them anew beside the requests when they age."""
        age = time.monotonic() - self._fetched
        if age > self._settings.oidc_keys_refresh_seconds and self._may_try() and (self._beside is None or self._beside.done()):
            self._beside = asyncio.get_running_loop().create_task(self.renew())
        return age <= self._settings.oidc_keys_usable_seconds

    async def one(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return the issuer's key of this id that fits the algorithm, the only one that fits where no id is given, or None.

        Raises:
            Unavailable: there are no keys, or none young enough, and none can be had now.
        """
        found = self._found(key_id, algorithm) if self.usable() else None
        if found is None:
            await self.renew()
            if not self.usable():
                raise Unavailable(PART, "The keys of the identity provider cannot be had now; ask again in a moment.")
            found = self._found(key_id, algorithm)
        return found

    async def renew(self) -> None:
        """Fetch the keys, once for all who wait and not again within seconds; keep the old ones if that fails."""
        async with self._lock:
            if not self._may_try():
                return
            try:
                told = await asyncio.to_thread(_fetched, self._settings)
                keys = read(told, self._settings.oidc_algorithms)
            except AiInfraError as error:
                logger.warning("%s", error)
                return
            finally:
                self._tried = time.monotonic()
            self._fetched = self._tried
            if told != self._told:
                self._told, self._keys, self.changes = told, keys, self.changes + 1

    def _may_try(self) -> bool:
        return time.monotonic() - self._tried > min(_PAUSE_SECONDS, self._settings.oidc_keys_refresh_seconds)

    def _found(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        if key_id is not None:
            fitting = self._keys.get((key_id, algorithm), ())
        else:
            fitting = tuple(key for (_, its), keys in self._keys.items() if its == algorithm for key in keys)
        return fitting[0] if len(fitting) == 1 else None


def read(told: Any, algorithms: Iterable[str]) -> Keys:
    """Return the keys of a JWKS that these algorithms can use; those of another kind, for encryption, or unreadable are left out.

    Raises:
        Unavailable: it is no JWKS, or has no such key.
    """
    listed = told.get("keys") if isinstance(told, dict) else None
    keys: dict[tuple[str | None, str], tuple[PyJWK, ...]] = {}
    for key in listed if isinstance(listed, list) else ():
        for algorithm in algorithms:
            if (read_key := _key(key, algorithm)) is not None:
                name = (key.get("kid"), algorithm)
                keys[name] = (*keys.get(name, ()), read_key)
    if not keys:
        raise Unavailable(PART, f"The identity provider's JWKS has no key for {', '.join(algorithms)}.")
    return keys


def _key(told: Any, algorithm: str) -> PyJWK | None:
    if not isinstance(told, dict) or not isinstance(told.get("kid"), str | None):
        return None
    kind, curve = _KINDS[algorithm]
    fits = told.get("kty") == kind and told.get("alg", algorithm) == algorithm and (curve is None or told.get("crv") == curve)
    if not fits or told.get("use", "sig") != "sig" or "verify" not in told.get("key_ops", ["verify"]):
        return None
    try:
        return PyJWK(told, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def _fetched(settings: Settings) -> Any:
    if settings.oidc_jwks_url:
        return _json(settings.oidc_jwks_url)
    issuer = settings.oidc_issuer or ""
    told = _json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if not isinstance(told, dict) or told.get("issuer") != issuer:
        raise Unavailable(PART, "The identity provider's configuration names another issuer; AI_INFRA_OIDC_ISSUER must be exactly its.")
    return _json(_address_of_keys(issuer, told.get("jwks_uri")))


def _address_of_keys(issuer: str, told: Any) -> str:
    try:
        url = httpx.URL(told)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if not url.host or url.userinfo or url.scheme not in ("https", httpx.URL(issuer).scheme):
        raise Unavailable(PART, "The identity provider's configuration has no jwks_uri that starts with https.")
    return str(url)


def _json(url: str) -> Any:
    reply = outbound.get(PART, url, patience=_PATIENCE, max_bytes=_MAX_BYTES)
    if reply.status != 200 or reply.too_long:
        what = f"more than {_MAX_BYTES} bytes" if reply.too_long else f"HTTP {reply.status}"
        raise Unavailable(PART, f"The identity provider answered {url} with {what}.")
    try:
        return canonical_json.loads(reply.body, what="The identity provider's answer")
    except AiInfraError as error:
        raise Unavailable(PART, str(error)) from None
