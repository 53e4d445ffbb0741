"""Which roles somebody has: AI_INFRA_ROLES, read once at the start.

    {"group:ml-platform": ["trainer", "registrar"],     a value of the claim that AI_INFRA_OIDC_ROLES_CLAIM names
     "sub:alice": ["promoter:prod"],                    the value of the claim that AI_INFRA_OIDC_ACTOR_CLAIM names
     "group:security": ["approver:prod:security"],      whose approvals for prod count for the role `security`
     "cert:CN=ci,O=Example": ["trainer"],               the whole subject of a client certificate, as `certificates` writes it
     "anyone": ["viewer"]}                              everybody who proved who they are

Who somebody is does not live here; what a role allows is in `identity`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.http_api.access.identity import APPROVER, PER_ENVIRONMENT, ROLES
from aiinfra_core.settings import Settings

ANYONE = "anyone"
_FORM = re.compile(r"([a-z]+)(?::([^:]*)(?::([a-z0-9][a-z0-9._-]{0,127}))?)?")  # the last as trust root and policies name roles
_KINDS = ("group", "sub", "cert")
RoleMap = Mapping[str, frozenset[str]]


def read(settings: Settings) -> RoleMap:
    """Return the roles that are given, by whom they are given to.

    Raises:
        Misconfigured: the setting is not such an object, or names a role or an environment that does not exist.
    """
    if not settings.roles:
        return {}
    try:
        given = canonical_json.loads(settings.roles, what="AI_INFRA_ROLES")
    except BadInput as error:
        raise Misconfigured(f'{error} Write it like {{"group:ml-platform": ["trainer"]}}.') from None
    if not isinstance(given, dict):
        raise Misconfigured('AI_INFRA_ROLES must be a JSON object like {"group:ml-platform": ["trainer"]}.')
    return {_holder(name): _roles(name, listed, settings.environments) for name, listed in given.items()}


def of(roles: RoleMap, holders: Iterable[str]) -> frozenset[str]:
    """Return every role that is given to one of these names, or to anyone."""
    return frozenset().union(*(roles.get(holder, ()) for holder in (*holders, ANYONE)))


def _holder(name: str) -> str:
    kind, _, rest = name.partition(":")
    if name != ANYONE and not (kind in _KINDS and rest):
        raise Misconfigured(f"AI_INFRA_ROLES gives roles to {name!r}; write group:VALUE, sub:VALUE, cert:SUBJECT or {ANYONE}.")
    return name


def _roles(name: str, listed: Any, environments: tuple[str, ...]) -> frozenset[str]:
    if not isinstance(listed, list) or not listed:
        raise Misconfigured(f'AI_INFRA_ROLES must give {name!r} a list of roles, like ["trainer"].')
    for role in listed:
        _check(name, role, environments)
    return frozenset(listed)


def _check(name: str, role: Any, environments: tuple[str, ...]) -> None:
    found = _FORM.fullmatch(role) if isinstance(role, str) else None
    kind, environment, fills = found.groups() if found else (None, None, None)
    if kind not in ROLES or (environment is not None) != (kind in PER_ENVIRONMENT) or (fills and kind != APPROVER):
        known = ", ".join(f"{one}:ENVIRONMENT{'[:ROLE]' * (one == APPROVER)}" if one in PER_ENVIRONMENT else one for one in ROLES)
        raise Misconfigured(f"AI_INFRA_ROLES gives {name!r} the role {role!r}; known are {known}.")
    if environment is not None and environment not in (*environments, "*"):
        raise Misconfigured(f"AI_INFRA_ROLES gives {name!r} the role {role!r}; environments are {', '.join(environments)}, or * for all.")
