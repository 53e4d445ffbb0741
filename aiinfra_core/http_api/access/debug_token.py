"""The debug token: who comes with it may do everything, so it is for development alone.

The actor is `debug`, or `debug:NAME` with NAME from `X-Debug-Actor`, so that two people can be played by one developer.
"""

import hmac
import re

from aiinfra_core.domain.approval import DEBUG_TOKEN
from aiinfra_core.errors import Unauthenticated
from aiinfra_core.http_api.access.identity import Identity
from aiinfra_core.settings import Settings

ACTOR = "debug"
SHORT = 16
"""A token with fewer characters may be found by trying."""
_NAME = re.compile(rb"[\x21-\x7e]{1,128}")


def is_beyond_guessing(settings: Settings, token: bytes) -> bool:
    """Return whether this is the debug token, and too long to be found by trying."""
    expected = settings.debug_token.get_secret_value().encode() if settings.debug_token else b""
    return len(expected) >= SHORT and hmac.compare_digest(token, expected)


def identity(settings: Settings, token: bytes, name: bytes | None) -> Identity:
    """Return the developer.

    Raises:
        Unauthenticated: the token is not the one of the settings, or none is taken.
    """
    if not settings.allow_debug_token or settings.production or settings.debug_token is None:
        raise Unauthenticated("X-Debug-Token is not taken here; bring a bearer token or a client certificate.")
    expected = settings.debug_token.get_secret_value().encode()
    if not expected or not hmac.compare_digest(token, expected):
        raise Unauthenticated("X-Debug-Token is not the one of AI_INFRA_DEBUG_TOKEN.")
    if name is not None and not _NAME.fullmatch(name):
        raise Unauthenticated("X-Debug-Actor must be up to 128 printable ASCII characters without spaces.")
    return Identity(ACTOR if name is None else f"{ACTOR}:{name.decode()}", frozenset({"admin"}), DEBUG_TOKEN)
