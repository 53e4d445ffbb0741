"""Who has which role, which role allows what, and what is read out of claims, certificates and addresses."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from aiinfra_core.errors import Forbidden, Misconfigured, Unauthenticated
from aiinfra_core.http_api.access import debug_token, oidc, roles
from aiinfra_core.http_api.access.identity import PER_ENVIRONMENT, ROLES, Demand, Identity
from aiinfra_core.settings import Settings

EVERYWHERE = [role for role in ROLES if role not in PER_ENVIRONMENT]
IN_ONE = [f"{role}:{environment}" for role in PER_ENVIRONMENT for environment in ("staging", "prod", "*")]
some_roles = st.frozensets(st.sampled_from([*EVERYWHERE, *IN_ONE]))


def holder(*held: str) -> Identity:
    return Identity("somebody", frozenset(held))


@settings(deadline=None)
@given(some_roles, st.sampled_from(ROLES))
def test_a_role_allows_itself_any_role_allows_viewing_and_only_an_admin_may_do_all(held: frozenset[str], role: str) -> None:
    expected = "admin" in held or role in held or (role == "viewer" and bool(held))
    assert Identity("somebody", held).may(role) is expected


@settings(deadline=None)
@given(some_roles, st.sampled_from(PER_ENVIRONMENT), st.sampled_from(["staging", "prod", "qa"]))
def test_a_role_in_one_environment_says_nothing_about_another(held: frozenset[str], role: str, environment: str) -> None:
    allowed = bool({"admin", f"{role}:{environment}", f"{role}:*"} & held)
    try:
        Identity("somebody", held).check_in(role, environment)
    except Forbidden:
        assert not allowed
    else:
        assert allowed


@settings(deadline=None)
@given(some_roles)
def test_a_role_in_some_environment_is_counted_for_that_role_alone(held: frozenset[str]) -> None:
    for role in ROLES:
        expected = role in PER_ENVIRONMENT and any(one.split(":")[0] == role for one in held)
        assert Identity("somebody", held).may_somewhere(role) is expected


@pytest.mark.parametrize(
    ("held", "counts_as"),
    [
        (("approver:prod",), ("approver",)),
        (("approver:*",), ("approver",)),
        (("approver:prod:security",), ("security",)),
        (("approver:prod:security", "approver:*:ml-lead", "approver:staging:docs", "promoter:prod"), ("ml-lead", "security")),
        (("admin",), None),
        (("admin", "approver:prod:security"), ("security",)),
        (("approver:staging", "promoter:prod", "viewer"), None),
        (("approver",), None),
        ((), None),
    ],
)
def test_an_approval_counts_for_the_roles_somebody_has_in_that_environment(
    held: tuple[str, ...], counts_as: tuple[str, ...] | None
) -> None:
    if counts_as is not None:
        assert holder(*held).approves_as("prod", ["docs"]) == counts_as
        return
    with pytest.raises(Forbidden, match="no role approver:prod"):
        holder(*held).approves_as("prod", ["docs"])


def test_with_the_debug_token_a_developer_plays_everybody_who_is_asked_for() -> None:
    assert debug_token.identity(DEBUGGING, b"dev", None).approves_as("prod", ["docs"]) == ("approver", "docs")


def test_a_word_that_only_looks_like_a_role_allows_nothing() -> None:
    strange = holder("admin:prod", "trainer:prod", "promoterx:prod")
    assert not strange.may("admin", "trainer", "promoter")
    assert not strange.may_somewhere("admin", "trainer", "promoter")


class _Request:
    """What a `Demand` reads of a request."""

    def __init__(self, identity: Identity | None, *, public: bool) -> None:
        self.scope = {"aiinfra.identity": identity}
        self.app = type("App", (), {"state": type("State", (), {"settings": Settings(public_reads=public)})})


def _asked(demand: Demand, identity: Identity | None, *, public: bool = False) -> Identity | None:
    coroutine = demand(_Request(identity, public=public))  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    answer: Identity | None = ended.value.value
    return answer


def test_a_route_demands_a_role_and_an_open_read_nothing_where_reads_are_public() -> None:
    closed, opened = Demand(("viewer",)), Demand(("viewer",), open_read=True)
    assert _asked(closed, holder("approver:prod"), public=True) == holder("approver:prod")
    assert _asked(opened, None, public=True) is None
    assert _asked(opened, holder(), public=True) == holder()
    for demand, identity, public, error in (
        (closed, None, True, Unauthenticated),
        (closed, holder(), True, Forbidden),
        (opened, None, False, Unauthenticated),
        (opened, holder(), False, Forbidden),
        (Demand(("promoter",)), holder("approver:prod"), True, Forbidden),
        (Demand(("viewer",), open_read=True, in_development=True), None, False, Unauthenticated),
    ):
        with pytest.raises(error):
            _asked(demand, identity, public=public)
    assert _asked(Demand(("promoter",)), holder("promoter:prod")) == holder("promoter:prod")


def given_roles(**given: Any) -> roles.RoleMap:
    return roles.read(Settings(roles=json.dumps({name.replace("__", ":"): listed for name, listed in given.items()})))


def test_roles_are_added_up_over_names_groups_and_anyone() -> None:
    given = given_roles(group__ml=["trainer"], sub__alice=["promoter:prod"], cert__ci=["registrar"], anyone=["viewer"])
    assert roles.of(given, ("sub:alice", "group:ml", "group:unknown")) == {"trainer", "promoter:prod", "viewer"}
    assert roles.of(given, ("sub:ml", "group:alice", "cert:alice")) == {"viewer"}, "a kind of name is not another"
    assert roles.of({}, ("sub:alice",)) == frozenset()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("nonsense", "AI_INFRA_ROLES is not readable as JSON"),
        ("[]", "must be a JSON object"),
        ('{"group:ml": ["viewer"], "group:ml": ["admin"]}', "names a key twice"),
        ('{"ml": ["viewer"]}', "gives roles to 'ml'"),
        ('{"group:": ["viewer"]}', "gives roles to 'group:'"),
        ('{"user:alice": ["viewer"]}', "gives roles to 'user:alice'"),
        ('{"group:ml": "viewer"}', "a list of roles"),
        ('{"group:ml": []}', "a list of roles"),
        ('{"group:ml": ["root"]}', "the role 'root'; known are viewer, trainer"),
        ('{"group:ml": ["Admin"]}', "the role 'Admin'"),
        ('{"group:ml": [1]}', "the role 1"),
        ('{"group:ml": ["promoter"]}', "promoter:ENVIRONMENT"),
        ('{"group:ml": ["reporter"]}', "reporter:ENVIRONMENT"),
        ('{"group:ml": ["promoter:"]}', "the role 'promoter:'"),
        ('{"group:ml": ["trainer:prod"]}', "the role 'trainer:prod'"),
        ('{"group:ml": ["promoter:qa"]}', "environments are staging, prod"),
        ('{"group:ml": ["promoter:prod:security"]}', "the role 'promoter:prod:security'"),
        ('{"group:ml": ["approver:prod:"]}', r"approver:ENVIRONMENT\[:ROLE\]"),
        ('{"group:ml": ["approver:prod:Security"]}', "the role 'approver:prod:Security'"),
        ('{"group:ml": ["approver:prod:security:x"]}', "the role 'approver:prod:security:x'"),
        ('{"group:ml": ["approver:qa:security"]}', "environments are staging, prod"),
    ],
)
def test_a_setting_that_gives_roles_wrongly_is_refused_at_the_start(wrong: str, told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        roles.read(Settings(roles=wrong))


def test_every_role_there_is_can_be_given() -> None:
    every = [*EVERYWHERE, *IN_ONE, "approver:prod:security", "approver:*:ml-lead"]
    assert given_roles(group__all=every)["group:all"] == set(every)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), st.text(max_size=5))
def test_any_claims_give_texts_and_nothing_else(claims: dict[str, Any], path: str) -> None:
    assert all(isinstance(text, str) for text in oidc.texts_at(claims, path))


@pytest.mark.parametrize(
    ("claims", "path", "texts"),
    [
        ({"groups": ["a", "b", 3, None]}, "groups", ("a", "b")),
        ({"groups": "one group"}, "groups", ("one group",)),
        ({"scope": "read write"}, "scope", ("read", "write")),
        ({"a": {"scp": "read write"}}, "a.scp", ("read", "write")),
        ({"groups": {"a": True}}, "groups", ()),
        ({}, "groups", ()),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"realm_access": ["a"]}, "realm_access.roles", ()),
        ({"https://example.com/roles": ["a"]}, "https://example.com/roles", ("a",)),
        ({"a.b": ["whole"], "a": {"b": ["path"]}}, "a.b", ("whole",)),
    ],
)
def test_groups_are_found_at_a_name_or_a_dotted_path(claims: dict[str, Any], path: str, texts: tuple[str, ...]) -> None:
    assert oidc.texts_at(claims, path) == texts


@settings(deadline=None)
@given(st.text() | st.from_regex(r"(ai-infra|cert|debug|root|runner|[a-z]+)[:@.]?[a-z]*", fullmatch=True))
def test_no_claim_makes_an_actor_who_is_somebody_else(named: str) -> None:
    try:
        actor = oidc.identity_of(Settings(), {}, {"sub": named}).actor
    except Unauthenticated:
        return
    assert actor == named
    assert not re.match(r"(ai-infra|cert|debug|root|runner)([:@]|\Z)", actor, re.IGNORECASE)


@pytest.mark.parametrize(
    "kept",
    [
        *("debug", "debug:alice", "Debug:alice", "debug@host", "cert:CN=ci", "CERT:CN=ci", "cert", "root"),
        *("runner", "runner@host-1:4711", "RUNNER@host", "ai-infra", "AI-Infra", "ai-infra:log", "ai-infra@host"),
    ],
)
def test_names_that_are_kept_for_others_cannot_be_claimed(kept: str) -> None:
    with pytest.raises(Unauthenticated, match="kept for others"):
        oidc.identity_of(Settings(), {}, {"sub": kept})


DEV = SecretStr("dev")
DEBUGGING = Settings(allow_debug_token=True, debug_token=DEV)


def test_the_debug_token_makes_an_admin_who_may_have_a_name() -> None:
    assert debug_token.identity(DEBUGGING, b"dev", None) == Identity("debug", frozenset({"admin"}), "debug-token")
    assert debug_token.identity(DEBUGGING, b"dev", b"alice").actor == "debug:alice"


@pytest.mark.parametrize(
    ("configured", "token", "name"),
    [
        (DEBUGGING, b"de", None),
        (DEBUGGING, b"dev ", None),
        (DEBUGGING, b"", None),
        (DEBUGGING, "dév".encode("latin-1"), None),
        (DEBUGGING, b"dev", b"alice smith"),
        (DEBUGGING, b"dev", b""),
        (DEBUGGING, b"dev", b"a" * 129),
        (Settings(debug_token=DEV), b"dev", None),
        (Settings(allow_debug_token=True), b"", None),
        (Settings(allow_debug_token=True, debug_token=SecretStr("")), b"", None),
        (Settings(env="production", allow_debug_token=True, debug_token=DEV), b"dev", None),
    ],
)
def test_another_debug_token_is_refused_and_any_in_production(configured: Settings, token: bytes, name: bytes | None) -> None:
    with pytest.raises(Unauthenticated):
        debug_token.identity(configured, token, name)
