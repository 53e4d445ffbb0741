"""Every route, every role and every kind of token, over real sockets: routes come from the app, what each demands is written down here.

A route that is added, or demands something else than before, fails until somebody thought about it and changed `DEMANDS`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from aiinfra_core.http_api.access.authentication import OPEN_PATHS
from aiinfra_core.http_api.access.identity import ROLES, Demand
from aiinfra_core.http_api.app import create_app
from aiinfra_core.settings import Settings
from tests.simulators import oidc
from tests.simulators.oidc import AUDIENCE, Issuer, issuing
from tests.simulators.service import AS_DEBUG, serving
from tests.simulators.who_asks import NO_TLS

OPEN, PUBLIC_READ = "open to everybody", "viewer, or everybody where reads are public"
PUBLIC_IN_DEVELOPMENT = "viewer, or everybody where reads are public and this is development"
DEMANDS = {
    "GET /health": OPEN,
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": PUBLIC_IN_DEVELOPMENT,
    "GET /openapi.json": PUBLIC_READ,
    "GET /docs": PUBLIC_READ,
    "GET /docs/page.js": PUBLIC_READ,
    "GET /docs/{name}": PUBLIC_READ,
    "GET /ai-infra/models": PUBLIC_READ,
    "GET /ai-infra/models/{id}": PUBLIC_READ,
    "GET /ai-infra/models/{id}/lineage": "viewer",
    "GET /ai-infra/models/{id}/attestations": "viewer",
    "GET /ai-infra/models/{id}/verify": "viewer",
    "GET /ai-infra/models/{id}/proof": "viewer",
    "GET /ai-infra/models/{id}/reproductions": "viewer",
    "GET /ai-infra/models/{id}/scan": "viewer",
    "POST /ai-infra/train": "trainer",
    "GET /ai-infra/jobs": "viewer",
    "GET /ai-infra/jobs/{job_id}": "viewer",
    "POST /ai-infra/jobs/claim": "executor",
    "POST /ai-infra/jobs/{job_id}/heartbeat": "executor",
    "POST /ai-infra/jobs/{job_id}/release": "executor",
    "POST /ai-infra/jobs/{job_id}/fail": "executor",
    "POST /ai-infra/jobs/{job_id}/complete": "executor",
    "POST /ai-infra/register": "registrar",
    "POST /ai-infra/promote": "promoter",
    "POST /ai-infra/rollback": "promoter",
    "GET /ai-infra/rollouts": "viewer",
    "GET /ai-infra/rollouts/{id}": "viewer",
    "GET /ai-infra/rollouts/{id}/page": PUBLIC_IN_DEVELOPMENT,
    "POST /ai-infra/rollouts/{id}/pause": "promoter",
    "POST /ai-infra/rollouts/{id}/resume": "promoter",
    "POST /ai-infra/rollouts/{id}/advance": "promoter",
    "POST /ai-infra/rollouts/{id}/abort": "promoter",
    "POST /ai-infra/rollouts/{id}/observations": "reporter",
    "GET /ai-infra/promotions": "viewer",
    "GET /ai-infra/promotions/{id}": "viewer",
    "GET /ai-infra/promotions/{id}/approvals": "viewer",
    "POST /ai-infra/promotions/{id}/approvals": "approver",
    "POST /ai-infra/promotions/{id}/approvals/{approvalId}/withdraw": "approver",
    "GET /ai-infra/promotions/{id}/page": PUBLIC_IN_DEVELOPMENT,
    "GET /ai-infra/environments": "viewer",
    "GET /ai-infra/environments/{env}/models/{name}": "viewer",
    "GET /ai-infra/environments/{env}/models/{name}/routing": "viewer",
    "GET /ai-infra/cards/{model}": "viewer",
    "GET /ai-infra/cards/{model}/{version}": "viewer",
    "PUT /ai-infra/cards/{model}": "registrar",
    "PUT /ai-infra/cards/{model}/{version}": "registrar",
    "GET /ai-infra/audit/events": "auditor",
    "GET /ai-infra/audit/events/{seq}/proof": "auditor",
    "GET /ai-infra/audit/checkpoint": "auditor",
    "GET /ai-infra/audit/consistency": "auditor",
}
GIVEN = (
    "viewer",
    "trainer",
    "executor",
    "registrar",
    "promoter:staging",
    "promoter:*",
    "approver:prod",
    "approver:prod:security",
    "reporter:prod",
    "reporter:*",
    "auditor",
    "admin",
)
"""The roles of the matrix: each there is, those given per environment in one of them and in all."""
# What stands for each part of an address; a part that is not here fails the test of its route.
_PARTS: dict[str, Any] = {
    "id": uuid4(),
    "approvalId": uuid4(),
    "job_id": uuid4(),
    "env": "prod",
    "model": "rain",
    "name": "rain",
    "version": 1,
    "seq": 1,
}


def routes(app: FastAPI) -> dict[str, Demand | None]:
    """Return every route there is, and what it demands by its own word."""
    found: dict[str, Demand | None] = {}
    for context in iter_route_contexts(app.routes):
        assert isinstance(context.original_route, APIRoute), f"{context.path} is no ordinary route; say here how it is guarded"
        demands = [part.call for part in context.dependant.dependencies if isinstance(part.call, Demand)]
        assert len(demands) <= 1, f"{context.path} has two demands"
        for method in context.methods or ():
            found[f"{method} {context.path}"] = demands[0] if demands else None
    return found


def test_every_route_demands_what_is_written_down() -> None:
    opened = {
        None: OPEN,
        Demand(("viewer",), open_read=True): PUBLIC_READ,
        Demand(("viewer",), open_read=True, in_development=True): PUBLIC_IN_DEVELOPMENT,
    }
    said = {
        name: opened[demand] if demand is None or demand.open_read else "/".join(demand.roles)
        for name, demand in routes(create_app(Settings())).items()
    }
    assert said == DEMANDS
    assert {name.partition(" ")[2] for name, demand in DEMANDS.items() if demand == OPEN} == set(OPEN_PATHS)


def test_every_role_there_is_is_in_the_matrix() -> None:
    assert {role.partition(":")[0] for role in GIVEN} == set(ROLES)


def may(role: str, demand: str) -> bool:
    """Say what the issue says: an admin may all, everybody with a role is a viewer, a route's own role counts in any environment."""
    return role == "admin" or demand in (OPEN, PUBLIC_READ, PUBLIC_IN_DEVELOPMENT, "viewer") or role.partition(":")[0] == demand


@dataclass(frozen=True)
class Service:
    """A running service whose issuer's groups are called like the roles they have."""

    client: httpx.Client
    issuer: Issuer
    stranger: Issuer

    def ask(self, route: str, token: str | None = None, body: Any = None) -> httpx.Response:
        method, _, path = route.partition(" ")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = path.format(**_PARTS | ({"name": "swagger-ui.css"} if path.startswith("/docs") else {}))
        return self.client.request(method, address, headers=headers, json=None if method == "GET" else body or {})

    def token(self, *roles: str, **changed: Any) -> str:
        return self.issuer.token(groups=list(roles), **changed)

    def refused(self) -> Mapping[str, str]:
        """Return a token of each kind that must not count; each names an admin."""
        now, groups = int(time.time()), ["admin"]
        key = self.stranger.keys["first"][1]
        return {
            "expired": self.token("admin", exp=now - 60, iat=now - 600),
            "not yet valid": self.token("admin", nbf=now + 600),
            "for another audience": self.token("admin", aud="another"),
            "of another issuer": self.token("admin", iss="https://elsewhere.example"),
            "algorithm none": oidc.unsigned(self.issuer, groups=groups),
            "HS256 with the public key": oidc.signed_with_public_key(self.issuer, groups=groups),
            "an algorithm that is not on the list": jwt.encode(self.issuer.claims(groups=groups), "x" * 32, "HS256", {"kid": "first"}),
            "signed with another key": jwt.encode(self.issuer.claims(groups=groups), key, "ES256", {"kid": "first"}),
            "tampered": oidc.tampered(self.token("viewer"), groups=groups),
            "nonsense": "nonsense",
        }


@pytest.fixture
def given(settings: Settings) -> Iterator[Any]:
    """Start services; each takes tokens of its own issuer."""
    with ExitStack() as stack:

        def start(**more: Any) -> Service:
            issuer, stranger = stack.enter_context(issuing()), stack.enter_context(issuing())
            served = settings.model_copy(
                update={
                    "oidc_issuer": issuer.url,
                    "oidc_audience": (AUDIENCE,),
                    "roles": json.dumps({f"group:{role}": [role] for role in GIVEN}),
                    "failed_proofs_per_minute": 1_000_000,
                    "rate_per_second": 0.0,
                }
                | more
            )
            url = stack.enter_context(serving(served))
            return Service(stack.enter_context(httpx.Client(base_url=url, timeout=30, verify=NO_TLS)), issuer, stranger)

        yield start


def test_each_role_gets_through_where_it_should_and_nowhere_else(given: Any) -> None:
    service: Service = given(public_reads=False)
    tokens = {role: service.token(role) for role in GIVEN}
    wrong = []
    for route, demand in DEMANDS.items():
        for role, token in tokens.items():
            answer = service.ask(route, token)
            if (answer.status_code not in (401, 403)) is not may(role, demand) or (answer.status_code >= 500 and route != "GET /readyz"):
                wrong.append((route, role, answer.status_code, answer.text[:300]))
    assert not wrong


def test_who_is_known_without_a_role_is_refused_and_who_says_nothing_is_asked(given: Any) -> None:
    service: Service = given(public_reads=False)
    roleless, unknown = service.token(), service.token("a-group-without-roles")
    for route, demand in DEMANDS.items():
        if demand == OPEN:
            assert service.ask(route).status_code not in (401, 403), route
            continue
        assert service.ask(route, roleless).status_code == 403, route
        assert service.ask(route, unknown).status_code == 403, route
        answer = service.ask(route)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="ai-infra"'), route
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("public", [False, True])
def test_a_token_that_does_not_count_opens_nothing_not_even_what_is_public(given: Any, public: bool) -> None:
    service: Service = given(public_reads=public)
    assert service.ask("GET /ai-infra/jobs", service.token("admin")).status_code == 200
    for what, token in service.refused().items():
        for route, demand in DEMANDS.items():
            answer = service.ask(route, token)
            assert (answer.status_code == 401) is (demand != OPEN), (route, what, answer.status_code)
            assert token not in answer.text, (route, what)


@pytest.mark.parametrize("env", ["development", "production"])
def test_public_reads_open_what_is_public_and_nothing_else(given: Any, env: str) -> None:
    service: Service = given(public_reads=True, env=env)
    roleless = service.token()
    for route, demand in DEMANDS.items():
        opened = demand in (OPEN, PUBLIC_READ) or (demand == PUBLIC_IN_DEVELOPMENT and env == "development")
        assert (service.ask(route).status_code not in (401, 403)) is opened, route
        assert (service.ask(route, roleless).status_code not in (401, 403)) is opened, route


def test_reads_are_public_by_default_in_development_and_not_in_production(given: Any) -> None:
    assert given().ask("GET /ai-infra/models").status_code == 200
    assert given(env="production").ask("GET /ai-infra/models").status_code == 401


def test_a_promoter_of_one_environment_promotes_to_no_other(given: Any) -> None:
    service: Service = given()
    for role, environment, expected in (
        ("promoter:staging", "prod", 403),
        ("promoter:staging", "production", 403),
        ("promoter:staging", "staging", 404),
        ("promoter:*", "prod", 404),
        ("admin", "prod", 404),
        ("approver:prod", "prod", 403),
    ):
        body = {"artifactId": str(uuid4()), "environment": environment, "evaluation": {"quality": 0.9}, "requestedBy": "alice"}
        answer = service.ask("POST /ai-infra/promote", service.token(role), body)
        assert answer.status_code == expected, (role, environment, answer.text)


def test_the_debug_token_opens_everything_in_development_and_nothing_in_production(given: Any, settings: Settings) -> None:
    allowed = {"allow_debug_token": True, "debug_token": Settings(debug_token=AS_DEBUG["X-Debug-Token"]).debug_token}
    for env, opened in (("development", True), ("production", False)):
        service: Service = given(env=env, public_reads=False, **allowed)
        for route, demand in DEMANDS.items():
            method, _, path = route.partition(" ")
            answer = service.client.request(method, path.format(**_PARTS), headers=AS_DEBUG, json={} if method != "GET" else None)
            assert (answer.status_code not in (401, 403)) is (opened or demand == OPEN), (env, route, answer.status_code)


def test_addresses_that_do_not_exist_tell_nobody_so(given: Any) -> None:
    service: Service = given()
    assert service.ask("POST /ai-infra/none").status_code == 401
    assert service.ask("DELETE /ai-infra/models").status_code == 401
    assert service.ask("POST /ai-infra/none", service.token("viewer")).status_code == 404
    assert service.ask("DELETE /ai-infra/models", service.token("viewer")).status_code == 405
