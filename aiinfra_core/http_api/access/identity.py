"""Who asks, with which roles, and what a route demands of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from aiinfra_core.domain.approval import DEBUG_TOKEN
from aiinfra_core.errors import Forbidden, Unauthenticated

ROLES = ("viewer", "trainer", "executor", "registrar", "promoter", "approver", "reporter", "auditor", "admin")
APPROVER = "approver"
PER_ENVIRONMENT = ("promoter", APPROVER, "reporter")
WHO_ARE_YOU = "This needs a bearer token, a client certificate or, in development, X-Debug-Token."


@dataclass(frozen=True)
class Identity:
    """Somebody who proved who they are, and `issuer`, who says so: an identity provider's address, or what kind of proof it was.

    A role is a name of `ROLES`; those of `PER_ENVIRONMENT` are followed by `:ENVIRONMENT` or `:*`, `approver` perhaps by `:ROLE` too: the
    role an approval of theirs fills.
    """

    actor: str
    roles: frozenset[str] = field(default_factory=frozenset)
    issuer: str = field(default="", compare=False)

    def may(self, *roles: str) -> bool:
        """Return whether one of these roles is theirs; an admin has them all, everybody with a role is a viewer."""
        if "admin" in self.roles or ("viewer" in roles and self.roles):
            return True
        return any(role in self.roles for role in roles)

    def may_somewhere(self, *roles: str) -> bool:
        """Return whether one of these roles is theirs in some environment."""
        return any(role in PER_ENVIRONMENT and any(one.startswith(f"{role}:") for one in self.roles) for role in roles)

    def check_in(self, role: str, environment: str) -> None:
        """See that a role that is given per environment is theirs in this one.

        Raises:
            Forbidden: it is not.
        """
        if not self.may(f"{role}:{environment}", f"{role}:*"):
            raise Forbidden(f"{self.actor} has no role {role}:{environment}; ask an administrator for it.")

    def approves_as(self, environment: str, asked: Iterable[str]) -> tuple[str, ...]:
        """Return the roles that an approval of theirs counts for in an environment; a developer with the debug token has all of them.

        Being an administrator is none of them: who is to agree is said by name, or two people would be one.

        Raises:
            Forbidden: they may not approve there.
        """
        if self.issuer == DEBUG_TOKEN:
            return tuple(sorted({APPROVER, *asked}))
        found = (role.split(":", 2) for role in self.roles if role.startswith(f"{APPROVER}:"))
        held = {name[0] if name else APPROVER for _, place, *name in found if place in (environment, "*")}
        if not held:
            raise Forbidden(f"{self.actor} has no role {APPROVER}:{environment}; ask an administrator for it.")
        return tuple(sorted(held))


@dataclass(frozen=True)
class Demand:
    """A route's demand: one of these roles, those of `PER_ENVIRONMENT` in any; the test of the access matrix reads it.

    With `open_read` nobody has to say who they are where AI_INFRA_PUBLIC_READS allows it; `in_development` limits that to development.
    """

    roles: tuple[str, ...]
    open_read: bool = False
    in_development: bool = False

    async def __call__(self, request: Request) -> Identity | None:
        """Return who asks, if they may."""
        identity: Identity | None = request.scope.get("aiinfra.identity")
        settings = request.app.state.settings
        if self.open_read and settings.reads_are_public and not (self.in_development and settings.production):
            return identity
        if identity is None:
            raise Unauthenticated(WHO_ARE_YOU)
        if not (identity.may(*self.roles) or identity.may_somewhere(*self.roles)):
            raise Forbidden(f"{identity.actor} has none of the roles {', '.join(self.roles)}; ask an administrator for one.")
        return identity


Viewer = Annotated[Identity, Depends(Demand(("viewer",)))]
PublicReader = Annotated[Identity | None, Depends(Demand(("viewer",), open_read=True))]
PublicInDevelopment = Annotated[Identity | None, Depends(Demand(("viewer",), open_read=True, in_development=True))]
Trainer = Annotated[Identity, Depends(Demand(("trainer",)))]
Executor = Annotated[Identity, Depends(Demand(("executor",)))]
Registrar = Annotated[Identity, Depends(Demand(("registrar",)))]
Promoter = Annotated[Identity, Depends(Demand(("promoter",)))]
Approver = Annotated[Identity, Depends(Demand((APPROVER,)))]
Reporter = Annotated[Identity, Depends(Demand(("reporter",)))]
Auditor = Annotated[Identity, Depends(Demand(("auditor",)))]
Admin = Annotated[Identity, Depends(Demand(("admin",)))]
