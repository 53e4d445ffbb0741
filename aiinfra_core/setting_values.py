"""What values of settings look like: each function returns a value in the form it is kept, or says what is wrong with it."""

import base64
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from aiinfra_core.domain.event_types import LATER_TYPES, TOLD_TYPES

_POSTGRESQL_SPELLINGS = ("postgresql", "postgres", "postgresql+psycopg")


def plain_postgresql(url: SecretStr) -> SecretStr:
    """Return the address of a PostgreSQL database in the one spelling everybody here reads.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    scheme, separator, rest = url.get_secret_value().partition("://")
    if not separator or scheme not in _POSTGRESQL_SPELLINGS:
        raise ValueError("must be a PostgreSQL address, postgresql://USER@HOST/DATABASE")
    from psycopg import Error, conninfo  # only where a database is configured: verifying an export needs none
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(f"postgresql://{rest}")
        conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except (ArgumentError, ValueError, Error):  # their messages may quote a password
        raise ValueError("must be a PostgreSQL address, postgresql://USER@HOST/DATABASE") from None
    return SecretStr(f"postgresql://{rest}")


def plain_token(token: SecretStr) -> SecretStr:
    """Return a token that can stand in a header.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    value = token.get_secret_value()
    if not value or not all("!" <= letter <= "~" for letter in value):
        raise ValueError("must be printable ASCII without spaces")  # in a header, anything else would be an error that quotes it
    return token


def webhook_secret(secret: SecretStr) -> SecretStr:
    """Return a secret as Standard Webhooks has them.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 random bytes in base64, as Standard Webhooks says")
    return secret


def webhook_address(address: SecretStr) -> SecretStr:
    """Return the address of a webhook.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    parts = urlsplit(address.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an http:// or https:// URL without user name, password, query or fragment")
    return address


def split_at_commas(value: Any) -> Any:
    """Return what a text lists between commas; anything else as it is."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def networks(value: Any) -> Any:
    """Return what a text lists, if each is a network.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    parts = listed(value)
    for part in parts if isinstance(value, str) else ():
        try:
            ip_network(part)
        except ValueError:
            raise ValueError(f"{part[:60]!r} is no network, such as 10.20.0.0/16") from None
    return parts


def told(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns of which each names a type of event.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    for pattern in patterns:
        if not pattern.startswith(LATER_TYPES) and not any(fnmatchcase(kind, pattern) for kind in TOLD_TYPES):
            raise ValueError(f"{pattern[:60]!r} is no type of event, such as promotion.applied or approval.*")
    return patterns


def listed(value: Any) -> Any:
    """Return what a text lists between commas, without what is empty."""
    return tuple(part for part in split_at_commas(value) if part) if isinstance(value, str) else value


def some_and_each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of which there is one at least, and none twice.

    Raises:
        ValueError: it is none; the message says what it must be.
    """
    if not names or len(set(names)) != len(names):
        raise ValueError("must name at least one environment, each once, such as staging,prod")
    return names


def kind_of_installation(value: Any) -> Any:
    """Return the one word for a kind of installation."""
    kind = value.strip().lower() if isinstance(value, str) else value
    return {"": "development", "prod": "production"}.get(kind, kind)
