"""Bearer tokens of one OIDC issuer: who a token is about, once its signature, issuer, audience and times are right.

Where the keys come from is in `issuer_keys`; which roles a group or a person has is in `roles`. No reason given to the caller
quotes the token; the log has the kind of what was wrong.
"""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import jwt
from pydantic import TypeAdapter, ValidationError

from aiinfra_core.domain.record import Actor
from aiinfra_core.errors import Unauthenticated
from aiinfra_core.http_api.access import roles
from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.http_api.access.issuer_keys import IssuerKeys
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)
MAX_TOKEN_BYTES = 16 * 1024
RESERVED = ("ai-infra", "cert", "debug", "root", "runner")  # the first words of actors who are no person of the issuer
_MAX_REMEMBERED = 10_000
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_SPACED = ("scope", "scp")  # claims that list words in one text
_ACTOR = TypeAdapter(Actor)


class BearerTokens:
    """Believes the tokens of one issuer; verified ones are remembered until they expire or the issuer's keys change."""

    def __init__(self, settings: Settings, given: roles.RoleMap) -> None:
        self._settings, self._given = settings, given
        self._keys = IssuerKeys(settings)
        self._remembered: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._changes = 0

    def remembered(self, token: bytes) -> Identity | None:
        """Return whom a token is about if it was verified before and still counts."""
        if not self._keys.usable():
            return None
        self._forget_what_other_keys_verified()
        digest = sha256(token).digest()
        identity, until = self._remembered.get(digest, (None, 0.0))
        if identity is None:
            return None
        if until <= time.time():
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return identity

    async def identity(self, token: bytes) -> Identity:
        """Return whom a token is about.

        Raises:
            Unauthenticated: it does not count here, or not any more.
            Unavailable: the issuer's keys cannot be had.
        """
        claims = await self._verified(token)
        identity = identity_of(self._settings, self._given, claims)
        self._forget_what_other_keys_verified()
        self._remembered[sha256(token).digest()] = (identity, claims["exp"] + self._settings.oidc_leeway_seconds)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return identity

    def _forget_what_other_keys_verified(self) -> None:
        if self._changes != self._keys.changes:
            self._remembered.clear()
            self._changes = self._keys.changes

    async def _verified(self, token: bytes) -> dict[str, Any]:
        settings = self._settings
        try:
            if len(token) > MAX_TOKEN_BYTES:
                raise jwt.DecodeError("too long")
            key_id, algorithm = _named(token, settings.oidc_algorithms)
            if (key := await self._keys.one(key_id, algorithm)) is None:
                raise jwt.InvalidKeyError("no such key")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=settings.oidc_leeway_seconds,
                options={"require": ["exp", "iat", "iss", "aud"], "enforce_minimum_key_length": True},
            )
            return _with_times(claims)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The bearer token has expired; get a new one from its issuer.") from None
        except (jwt.PyJWTError, ValueError, OverflowError, TypeError, RecursionError) as error:
            logger.info("A bearer token was refused: %s.", type(error).__name__)
            raise Unauthenticated("The bearer token does not count here; get one for this service from its issuer.") from None


def identity_of(settings: Settings, given: roles.RoleMap, claims: Mapping[str, Any]) -> Identity:
    """Return who the claims of a verified token name, with the roles given to them and to their groups.

    Raises:
        Unauthenticated: they name nobody who can be recorded.
    """
    named = value_at(claims, settings.oidc_actor_claim)
    try:
        actor = _ACTOR.validate_python(named, strict=True)
    except ValidationError:
        raise Unauthenticated(f"The bearer token has no claim {settings.oidc_actor_claim} that can be recorded as an actor.") from None
    if re.split("[:@]", actor, maxsplit=1)[0].lower() in RESERVED:
        raise Unauthenticated("The bearer token names an actor whose first word is kept for others.")
    if settings.oidc_actor_claim == "email" and claims.get("email_verified") is not True:
        raise Unauthenticated("The bearer token's email is not verified by its issuer (email_verified).")
    groups = texts_at(claims, settings.oidc_roles_claim)
    return Identity(actor, roles.of(given, (f"sub:{actor}", *(f"group:{group}" for group in groups))), settings.oidc_issuer or "")


def value_at(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim of exactly this name, else what the dotted path leads to; None where there is nothing."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def texts_at(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Return a claim's texts: those of a list, or the one it is; `scope` and `scp` are split at spaces. Anything else counts as none."""
    value = value_at(claims, path)
    if isinstance(value, str):
        return tuple(value.split()) if path.rpartition(".")[2] in _SPACED else (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _named(token: bytes, algorithms: tuple[str, ...]) -> tuple[str | None, str]:
    header = jwt.get_unverified_header(token)
    if header.get("alg") not in algorithms:
        raise jwt.InvalidAlgorithmError("not on the list")
    if str(header.get("typ", _TYPES[0])).lower() not in _TYPES:
        raise jwt.InvalidTokenError("not a token for access")
    return header.get("kid"), header["alg"]


def _with_times(claims: dict[str, Any]) -> dict[str, Any]:
    times = [claims["exp"], claims["iat"]]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times) or not times[1] < times[0]:
        raise jwt.InvalidTokenError("times that cannot be")
    return claims
