"""Which settings may be served: each forbidden combination is refused with a sentence that says what to set."""

import logging
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.embedded import development_key, postgres
from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api.starting import check_may_start
from aiinfra_core.settings import Settings

PIN = "A" * 43 + "="
PRODUCTION = {
    "AI_INFRA_ENV": "production",
    "AI_INFRA_DATABASE_URL": "postgresql://service@db.example/models",
    "AI_INFRA_ARTIFACT_ROOT": "s3://models/production",
    "AI_INFRA_TRUST_ROOT": "/etc/ai-infra/1.root.json",
    "AI_INFRA_SIGNER_URI": f"https://kms.example/sign?public-key={PIN}",
    "AI_INFRA_OIDC_ISSUER": "https://login.example",
    "AI_INFRA_OIDC_AUDIENCE": "ai-infra",
    "AI_INFRA_TLS_CERT": "/etc/ai-infra/tls.pem",
    "AI_INFRA_TLS_KEY": "/etc/ai-infra/tls.key",
}
DEVELOPMENT: dict[str, str] = {}


@pytest.fixture(autouse=True)
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def started(patch: pytest.MonkeyPatch, base: dict[str, str], **changed: str | None) -> None:
    """Start with an environment in which some variables are changed; None unsets one."""
    for name, value in (base | changed).items():
        if value is not None:
            patch.setenv(name, value)
    check_may_start(Settings())


def test_a_whole_production_installation_and_an_empty_development_one_may_start(patch: pytest.MonkeyPatch) -> None:
    started(patch, DEVELOPMENT)
    started(patch, PRODUCTION)
    started(patch, PRODUCTION, REQUIRE_KMS="true")


def test_production_may_be_said_in_the_words_of_node(patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="AI_INFRA_ENV=production needs TLS"):
        started(patch, PRODUCTION, AI_INFRA_ENV=None, NODE_ENV="production", AI_INFRA_TLS_CERT=None, AI_INFRA_TLS_KEY=None)


@pytest.mark.parametrize(
    "said", [{"AI_INFRA_ENV": " Prod"}, {"AI_INFRA_ENV": "", "NODE_ENV": "production"}, {"AI_INFRA_ENV": "test", "NODE_ENV": "production"}]
)
def test_production_in_other_words_is_guarded_too(said: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="takes no debug token"):
        started(patch, PRODUCTION | {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": "dev"}, **said)


@pytest.mark.parametrize(
    "also_right",
    [
        {
            "AI_INFRA_TLS_CERT": None,
            "AI_INFRA_TLS_KEY": None,
            "AI_INFRA_TLS_TERMINATED_BY_PROXY": "true",
            "AI_INFRA_TRUSTED_PROXIES": "10.0.0.0/8",
        },
        {"AI_INFRA_OIDC_ISSUER": None, "AI_INFRA_OIDC_AUDIENCE": None, "AI_INFRA_TLS_CLIENT_CA": "/etc/ca.pem"},
        {"AI_INFRA_TLS_CLIENT_CA": "/etc/ca.pem", "REQUIRE_MTLS": "true"},
        {
            "AI_INFRA_OIDC_ISSUER": None,
            "AI_INFRA_OIDC_AUDIENCE": None,
            "AI_INFRA_PROXY_CERT_HEADER": "Client-Cert",
            "AI_INFRA_TRUSTED_PROXIES": "10.0.0.0/8",
            "REQUIRE_MTLS": "true",
        },
        {"AI_INFRA_TLS_KEY": None},
        {"AI_INFRA_RUNNER": "true", "AI_INFRA_PREFECT_DEPLOYMENT": "train/train", "PREFECT_API_URL": "https://prefect.example/api"},
        {"AI_INFRA_OIDC_JWKS_URL": "https://login.example/keys?p=policy"},
    ],
)
def test_other_ways_to_the_same_may_start_too(also_right: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    started(patch, PRODUCTION, **also_right)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": "x" * 40},
            "unset AI_INFRA_ALLOW_DEBUG_TOKEN and AI_INFRA_DEBUG_TOKEN",
        ),
        ({"AI_INFRA_ALLOW_DEBUG_TOKEN": "true"}, "unset AI_INFRA_ALLOW_DEBUG_TOKEN"),
        ({"AI_INFRA_DEBUG_TOKEN": "x" * 40}, "unset AI_INFRA_ALLOW_DEBUG_TOKEN and AI_INFRA_DEBUG_TOKEN"),
        ({"AI_INFRA_SIGNER_URI": "file:/etc/ai-infra/signer.key"}, "keeps no signing key in the service; set AI_INFRA_KMS_ENDPOINT"),
        ({"AI_INFRA_SIGNER_URI": None, "AI_INFRA_SIGNER_KEY_B64": PIN}, "keeps no signing key in the service"),
        ({"AI_INFRA_SIGNER_URI": None}, "keeps no signing key in the service"),
        ({"AI_INFRA_AUDIT_SIGNER_URI": "env:"}, "keeps no signing key in the service"),
        ({"AI_INFRA_OIDC_ISSUER": None, "AI_INFRA_OIDC_AUDIENCE": None}, "a way to know who asks; set AI_INFRA_OIDC_ISSUER"),
        ({"AI_INFRA_TLS_CERT": None, "AI_INFRA_TLS_KEY": None}, "needs TLS; set AI_INFRA_TLS_CERT and AI_INFRA_TLS_KEY, or"),
        ({"AI_INFRA_OIDC_ISSUER": "http://login.example"}, "write AI_INFRA_OIDC_ISSUER with https://"),
        ({"AI_INFRA_OIDC_JWKS_URL": "http://login.example/keys"}, "write AI_INFRA_OIDC_JWKS_URL with https://"),
        ({"AI_INFRA_RUNNER": "true"}, "leave out --run-runner and AI_INFRA_RUNNER, and run aiinfra runner under an account"),
        ({"AI_INFRA_DATABASE_URL": None}, "takes no development default; set AI_INFRA_DATABASE_URL"),
        ({"AI_INFRA_ARTIFACT_ROOT": None}, "takes no development default; set AI_INFRA_ARTIFACT_ROOT"),
        ({"AI_INFRA_TRUST_ROOT": None}, "takes no development default; set AI_INFRA_TRUST_ROOT"),
    ],
)
def test_what_is_forbidden_in_production_is_refused_with_what_to_set(wrong: dict[str, Any], told: str, patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match=told):
        started(patch, PRODUCTION, **wrong)


def test_the_embedded_database_and_the_development_key_are_refused_in_production_even_by_name(
    patch: pytest.MonkeyPatch, home: Path
) -> None:
    key = development_key.ensure(home)
    with pytest.raises(Misconfigured, match="AI_INFRA_KMS_ENDPOINT"):
        started(patch, PRODUCTION, AI_INFRA_SIGNER_URI=f"file:{key}")
    with pytest.raises(Misconfigured, match="takes no development default; set AI_INFRA_DATABASE_URL"):
        started(patch, PRODUCTION, AI_INFRA_SIGNER_URI=PRODUCTION["AI_INFRA_SIGNER_URI"], AI_INFRA_DATABASE_URL=postgres.database_url(home))


def test_all_that_is_wrong_is_told_at_once(patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        Misconfigured, match=r"AI_INFRA_ROLES.*no debug token.*keeps no signing key.*who asks.*needs TLS.*set AI_INFRA_DATABASE_URL"
    ):
        wrong = {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": "dev", "AI_INFRA_ROLES": "[]"}
        started(patch, {"AI_INFRA_ENV": "production"} | wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"AI_INFRA_ALLOW_DEBUG_TOKEN": "true"}, "so AI_INFRA_DEBUG_TOKEN must be too"),
        ({"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": ""}, "so AI_INFRA_DEBUG_TOKEN must be too"),
        ({"REQUIRE_MTLS": "true"}, "REQUIRE_MTLS is set, so client certificates must be seen: set AI_INFRA_TLS_CLIENT_CA"),
        ({"REQUIRE_MTLS": "true", "AI_INFRA_TLS_CERT": "/a", "AI_INFRA_TLS_KEY": "/b"}, "set AI_INFRA_TLS_CLIENT_CA"),
        ({"REQUIRE_MTLS": "true", "AI_INFRA_PROXY_CERT_HEADER": "Client-Cert"}, "and AI_INFRA_TRUSTED_PROXIES"),
        ({"AI_INFRA_PROXY_CERT_HEADER": "Client-Cert"}, "set AI_INFRA_TRUSTED_PROXIES to their networks"),
        ({"AI_INFRA_TLS_TERMINATED_BY_PROXY": "true"}, "so AI_INFRA_TRUSTED_PROXIES must be too"),
        ({"AI_INFRA_TLS_KEY": "/b"}, "so AI_INFRA_TLS_CERT must be too"),
        ({"AI_INFRA_TLS_CLIENT_CA": "/a"}, "needs TLS of this service's own"),
        ({"AI_INFRA_OIDC_ISSUER": "https://login.example"}, "so AI_INFRA_OIDC_AUDIENCE must be too"),
        ({"AI_INFRA_OIDC_AUDIENCE": "ai-infra"}, "mean nothing without AI_INFRA_OIDC_ISSUER"),
        ({"AI_INFRA_OIDC_JWKS_URL": "https://login.example/keys"}, "mean nothing without AI_INFRA_OIDC_ISSUER"),
        ({"AI_INFRA_OIDC_ISSUER": "login.example", "AI_INFRA_OIDC_AUDIENCE": "a"}, "AI_INFRA_OIDC_ISSUER must be an http"),
        ({"AI_INFRA_OIDC_ISSUER": "https://me:pw@login.example", "AI_INFRA_OIDC_AUDIENCE": "a"}, "may not hold a user name"),
        (
            {"AI_INFRA_OIDC_KEYS_REFRESH_SECONDS": "100", "AI_INFRA_OIDC_KEYS_USABLE_SECONDS": "50"},
            "must not be less than AI_INFRA_OIDC_KEYS_REFRESH_SECONDS",
        ),
        ({"AI_INFRA_ROLES": '{"group:ml": ["root"]}'}, "AI_INFRA_ROLES gives 'group:ml' the role 'root'"),
        ({"AI_INFRA_OIDC_ALGORITHMS": "HS256"}, "AI_INFRA_OIDC_ALGORITHMS"),
        ({"AI_INFRA_OIDC_ALGORITHMS": "none"}, "AI_INFRA_OIDC_ALGORITHMS"),
        ({"AI_INFRA_OIDC_ALGORITHMS": ""}, "AI_INFRA_OIDC_ALGORITHMS"),
        ({"AI_INFRA_TRUSTED_PROXIES": "10.0.0.1/8"}, "AI_INFRA_TRUSTED_PROXIES"),
        ({"AI_INFRA_TRUSTED_PROXIES": "proxy.example"}, "AI_INFRA_TRUSTED_PROXIES"),
        ({"AI_INFRA_PROXY_CERT_HEADER": "Client Cert"}, "AI_INFRA_PROXY_CERT_HEADER"),
        ({"AI_INFRA_MAX_BODY_BYTES": "0"}, "AI_INFRA_MAX_BODY_BYTES"),
    ],
)
def test_what_is_half_set_is_refused_everywhere(wrong: dict[str, Any], told: str, patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match=told) as refusal:
        started(patch, DEVELOPMENT, **wrong)
    assert "me:pw" not in str(refusal.value)


@pytest.mark.parametrize(
    ("addr", "warned"), [(":8061", True), ("0.0.0.0:8061", True), ("127.0.0.1:8061", False), ("localhost:8061", False)]
)
def test_the_short_token_of_the_readme_works_in_development_and_is_warned_of_where_others_can_reach_it(
    addr: str, warned: bool, patch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        started(patch, {"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": "dev", "AI_INFRA_ADDR": addr})
    assert bool(caplog.records) is warned
    assert not any("dev" in record.getMessage().split() for record in caplog.records)
