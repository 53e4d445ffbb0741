"""Bearer tokens over real sockets: which count, how keys change and what happens while the issuer is away."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest

from aiinfra_core.settings import Settings
from tests.simulators import oidc
from tests.simulators.oidc import AUDIENCE, DISCOVERY, Issuer, issuing
from tests.simulators.scripted_server import answers, drips_body, hangs, resets, speaks_no_http
from tests.simulators.who_asks import NO_TLS, asking

ROLES = '{"sub:alice": ["trainer"], "group:ml": ["promoter:prod"]}'
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as started:
        yield started


def believing(issuer: Issuer, **more: Any) -> Settings:
    given = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": ROLES, "failed_proofs_per_minute": 10_000}
    return Settings(**(given | more))


def who(url: str, token: str, scheme: str = "Bearer") -> httpx.Response:
    return httpx.get(f"{url}/who", headers={"Authorization": f"{scheme} {token}"}, timeout=30, verify=NO_TLS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_each_algorithm_says_who_asks_and_which_roles_they_have(algorithm: str) -> None:
    with issuing(algorithm) as issuer, asking(believing(issuer)) as url:
        answer = who(url, issuer.token(groups=["ml", "others"]))
        assert answer.json() == {"actor": "alice", "roles": ["promoter:prod", "trainer"], "address": "127.0.0.1", "body": 0}
        assert who(url, issuer.token(sub="bob"), "bEaReR").json()["roles"] == []
        assert who(url, oidc.tampered(issuer.token(), sub="root")).status_code == 401


def test_a_token_counts_for_this_service_alone_and_in_its_time_alone(issuer: Issuer) -> None:
    now = int(time.time())
    refused: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - 60},
        "expired, and the leeway with it": {"exp": now - 31},
        "for another service": {"aud": "another"},
        "for no service": {"aud": None},
        "of another issuer": {"iss": "https://elsewhere.example"},
        "of an issuer that only begins like ours": {"iss": issuer.url + "/"},
        "of no issuer": {"iss": None},
        "without an end": {"exp": None},
        "without a beginning": {"iat": None},
        "issued tomorrow": {"iat": now + 86400, "exp": now + 90000},
        "not yet valid": {"nbf": now + 120},
        "issued after it ends": {"iat": now - 5, "exp": now - 10},
        "ending at no number": {"exp": "soon"},
        "ending never": {"exp": float("inf")},
        "ending at true": {"exp": True},
        "about nobody": {"sub": None},
        "about a number": {"sub": 7},
        "about a name with a space": {"sub": "alice smith"},
        "about a name that is too long": {"sub": "a" * 257},
        "about the debug actor": {"sub": "debug"},
        "about a certificate": {"sub": "cert:CN=ci"},
    }
    with asking(believing(issuer)) as url:
        assert who(url, issuer.token()).status_code == 200
        assert who(url, issuer.token(aud=["another", AUDIENCE])).status_code == 200
        assert who(url, issuer.token(exp=now - 20, iat=now - 100)).status_code == 200, "the leeway of clocks"
        for what, changed in refused.items():
            answer = who(url, issuer.token(**changed))
            assert answer.status_code == 401, what
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_forged_tokens_do_not_count_and_no_answer_quotes_them(issuer: Issuer) -> None:
    with issuing() as impostor:
        stranger = jwt.encode(issuer.claims(), impostor.keys["first"][1], "ES256", headers={"kid": "first"})
    good = issuer.token()
    head, claims, signature = good.split(".")
    forged = {
        "algorithm none": oidc.unsigned(issuer),
        "HS256 with the public key": oidc.signed_with_public_key(issuer),
        "another key under the same name": stranger,
        "other claims under the signature": oidc.tampered(good, sub="root"),
        "no signature": f"{head}.{claims}.",
        "half of it": good[: len(good) // 2],
        "twice": f"{good}.{good}",
        "a signature cut short": good[:-4],
        "an unknown key": issuer.token(headers={"kid": "unknown"}),
        "a key name that is no text": issuer.token() and _with_header(issuer, kid=7),
        "a key of its own in its head": _with_header(issuer, kid="unknown", jwk=oidc.jwk_of("unknown", *issuer.keys["first"])),
        "an extension nobody knows": _with_header(issuer, crit=["exp"]),
        "a logout token": issuer.token(headers={"typ": "logout+jwt"}),
        "too long": issuer.token(padding="x" * 20_000),
        "nonsense": "nonsense",
        "dots": "..",
        "deep": oidc._base64url(b"[" * 9000) + ".e30.e30",
    }
    with asking(believing(issuer)) as url:
        for what, token in forged.items():
            answer = who(url, token)
            assert answer.status_code in (401, 400), what
            assert answer.status_code == 401 or what == "too long"
            assert token not in answer.text, what
            assert signature not in answer.text, what
        assert who(url, good).status_code == 200


def _with_header(issuer: Issuer, **header: Any) -> str:
    key_id, (algorithm, key) = next(iter(issuer.keys.items()))
    body = f"{oidc._part({'alg': algorithm, 'kid': key_id} | header)}.{oidc._part(issuer.claims())}"
    return f"{body}.{oidc._base64url(jwt.get_algorithm_by_name(algorithm).sign(body.encode(), key))}"


def test_an_algorithm_that_is_not_on_the_list_is_refused_even_where_the_issuer_has_a_key_for_it(issuer: Issuer) -> None:
    issuer.add_key("rsa", "RS256")
    with asking(believing(issuer, oidc_algorithms=("ES256",))) as url:
        assert who(url, issuer.token("first")).status_code == 200
        assert who(url, issuer.token("rsa")).status_code == 401


def test_a_key_is_used_for_its_own_algorithm_alone(issuer: Issuer) -> None:
    issuer.add_key("rsa", "RS256")
    other = jwt.encode(issuer.claims(), issuer.keys["rsa"][1], "PS256", headers={"kid": "rsa"})
    with asking(believing(issuer)) as url:
        assert who(url, issuer.token("rsa")).status_code == 200
        assert who(url, other).status_code == 401


@pytest.mark.parametrize("wrong", [{"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["sign"]}, {"crv": "P-384"}, {"kty": "oct", "k": "AAAA"}])
def test_a_published_key_that_is_for_something_else_verifies_nothing(issuer: Issuer, wrong: dict[str, Any]) -> None:
    issuer.add_key("other")
    issuer.instead["/jwks"] = answers(200, {"keys": [issuer.jwks()["keys"][0] | wrong, issuer.jwks()["keys"][1], "nonsense", None]})
    with asking(believing(issuer)) as url:
        assert who(url, issuer.token("first")).status_code == 401
        assert who(url, issuer.token("other")).status_code == 200


def test_an_rsa_key_that_can_be_factored_verifies_nothing(issuer: Issuer) -> None:
    issuer.keys["short"] = ("RS256", oidc.rsa_key("short", 1024))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = issuer.token("short")
    with asking(believing(issuer)) as url:
        assert who(url, token).status_code == 401


def test_a_token_that_names_no_key_counts_where_only_one_can_be_meant(issuer: Issuer) -> None:
    nameless = jwt.encode(issuer.claims(), issuer.keys["first"][1], "ES256")
    with asking(believing(issuer)) as url:
        assert who(url, nameless).status_code == 200
    issuer.add_key("second")
    with asking(believing(issuer)) as url:
        assert who(url, nameless).status_code == 401


def test_a_new_key_is_fetched_when_a_token_names_it_and_invented_names_do_not_make_us_ask_without_end(issuer: Issuer) -> None:
    with asking(believing(issuer, oidc_keys_refresh_seconds=0.3)) as url:
        assert who(url, issuer.token()).status_code == 200
        issuer.add_key("second")
        time.sleep(0.35)
        assert who(url, issuer.token("second")).status_code == 200
    with asking(believing(issuer)) as url:
        issuer.asked.clear()
        assert who(url, issuer.token()).status_code == 200
        assert [who(url, issuer.token(headers={"kid": f"invented-{number}"})).status_code for number in range(20)] == [401] * 20
        assert issuer.asked == [DISCOVERY, "/jwks"]


def test_a_key_that_is_taken_away_ends_the_tokens_that_were_remembered_with_it(issuer: Issuer) -> None:
    with asking(believing(issuer, oidc_keys_refresh_seconds=0.2)) as url:
        token = issuer.token()
        assert who(url, token).status_code == 200
        del issuer.keys["first"]
        issuer.add_key("second")
        assert _becomes(url, token, 401)
        assert who(url, issuer.token("second")).status_code == 200


def test_while_the_issuer_is_away_its_keys_count_for_a_while_and_then_nobody_is_believed(issuer: Issuer) -> None:
    with asking(believing(issuer, oidc_keys_refresh_seconds=0.2, oidc_keys_usable_seconds=3.0)) as url:
        token = issuer.token()
        assert who(url, token).status_code == 200
        issuer.goes_down()
        since = time.monotonic()
        time.sleep(0.5)
        assert who(url, token).status_code == 200
        assert who(url, issuer.token(sub="bob")).status_code == 200
        assert _becomes(url, token, 503)
        assert time.monotonic() - since > 2
        answer = who(url, issuer.token(sub="carol"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert issuer.url.removeprefix("http://") not in answer.text
        issuer.comes_back()
        assert _becomes(url, token, 200)


def _becomes(url: str, token: str, status: int) -> bool:
    deadline = time.monotonic() + 10
    while who(url, token).status_code != status:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(500, {}),
        answers(404, {}),
        answers(302, {}, Location="https://elsewhere.example"),
        answers(200, b"nonsense"),
        answers(200, {"keys": []}),
        answers(200, {"keys": "x"}),
        answers(200, b'{"keys": [], "keys": []}'),
        answers(200, b"[" + b"1," * 300_000 + b"1]"),
        resets,
        speaks_no_http,
    ],
)
def test_an_issuer_that_does_not_answer_rightly_makes_nobody_believed_and_health_stays(issuer: Issuer, behaviour: Any) -> None:
    issuer.instead["/jwks"] = behaviour
    with asking(believing(issuer)) as url:
        assert who(url, issuer.token()).status_code == 503
        assert who(url, oidc.unsigned(issuer)).status_code == 401
        assert httpx.get(f"{url}/livez", verify=NO_TLS).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", [hangs, drips_body])
def test_an_issuer_that_keeps_us_waiting_is_given_up_and_others_are_answered_meanwhile(issuer: Issuer, behaviour: Any) -> None:
    issuer.goes_down(behaviour)
    with asking(believing(issuer)) as url:
        since = time.monotonic()
        assert who(url, issuer.token()).status_code == 503
        assert time.monotonic() - since < 15
        assert who(url, issuer.token()).status_code == 503


@pytest.mark.parametrize(
    "configuration",
    [
        lambda issuer: {"issuer": "https://elsewhere.example", "jwks_uri": f"{issuer.url}/jwks"},
        lambda issuer: {"jwks_uri": f"{issuer.url}/jwks"},
        lambda issuer: {"issuer": issuer.url},
        lambda issuer: {"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"},
        lambda issuer: {"issuer": issuer.url, "jwks_uri": issuer.url.replace("http://", "http://me:secret@") + "/jwks"},
        lambda _: [],
    ],
)
def test_a_configuration_of_another_issuer_or_of_nonsense_is_not_followed(issuer: Issuer, configuration: Any) -> None:
    issuer.instead[DISCOVERY] = answers(200, configuration(issuer))
    with asking(believing(issuer)) as url:
        assert who(url, issuer.token()).status_code == 503
    assert "/jwks" not in issuer.asked


def test_the_address_of_the_keys_may_be_set_and_then_nothing_else_is_asked(issuer: Issuer) -> None:
    with asking(believing(issuer, oidc_jwks_url=f"{issuer.url}/jwks")) as url:
        assert who(url, issuer.token()).status_code == 200
    assert issuer.asked == ["/jwks"]


def test_actor_and_roles_come_from_the_claims_that_the_settings_name(issuer: Issuer) -> None:
    roles = '{"sub:alice@example.com": ["viewer"], "group:ops": ["admin"]}'
    claims: dict[str, Any] = {"email": "alice@example.com", "realm_access": {"roles": ["ops"]}}
    with asking(believing(issuer, roles=roles, oidc_actor_claim="email", oidc_roles_claim="realm_access.roles")) as url:
        told = who(url, issuer.token(**claims, email_verified=True)).json()
        assert (told["actor"], told["roles"]) == ("alice@example.com", ["admin", "viewer"])
        assert who(url, issuer.token(**claims)).status_code == 401, "an address nobody verified"
        assert who(url, issuer.token(**claims, email_verified="true")).status_code == 401
