"""What the environment says and how it is refused when it is wrong; nothing is started here."""

import re
from pathlib import Path

import pytest

from aiinfra_core.audit_log.delivering import webhook
from aiinfra_core.domain.event_types import EVENT_TYPES
from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.registry import promotion_moves
from aiinfra_core.settings import Settings, environment_named


def test_environments_are_given_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENVIRONMENTS", "qa, staging,prod")
    assert Settings().environments == ("qa", "staging", "prod")


@pytest.mark.parametrize("wrong", ["", "staging,,prod", "staging,staging", "Prod", "a/b"])
def test_wrong_environments_are_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENVIRONMENTS", wrong)
    with pytest.raises(Misconfigured, match="AI_INFRA_ENVIRONMENTS"):
        Settings()


def test_production_is_another_word_for_prod() -> None:
    assert environment_named(Settings(), "production") == "prod"
    assert environment_named(Settings(), "staging") == "staging"


def test_an_environment_may_itself_be_called_production() -> None:
    assert environment_named(Settings(environments=("production", "prod")), "production") == "production"


def test_an_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="'qa'; known are staging, prod"):
        environment_named(Settings(), "qa")


def test_production_is_unknown_where_there_is_no_prod() -> None:
    with pytest.raises(NotFound, match="known are live"):
        environment_named(Settings(environments=("live",)), "production")


@pytest.mark.parametrize(
    ("variables", "production"),
    [
        ({}, False),
        ({"AI_INFRA_ENV": "production"}, True),
        ({"AI_INFRA_ENV": "Production"}, True),
        ({"AI_INFRA_ENV": " production\n"}, True),
        ({"AI_INFRA_ENV": "PROD"}, True),
        ({"AI_INFRA_ENV": "", "NODE_ENV": "production"}, True),
        ({"AI_INFRA_ENV": "development", "NODE_ENV": "production"}, True),
        ({"AI_INFRA_ENV": "staging", "NODE_ENV": "Prod "}, True),
        ({"AI_INFRA_ENV": "production", "NODE_ENV": "development"}, True),
        ({"AI_INFRA_ENV": ""}, False),
        ({"AI_INFRA_ENV": "Staging"}, False),
        ({"AI_INFRA_ENV": "test"}, False),
        ({"NODE_ENV": ""}, False),
        ({"NODE_ENV": "a word of another program"}, False),
    ],
)
def test_either_variable_says_production_however_it_is_spelled(
    variables: dict[str, str], production: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().production is production
    assert Settings().reads_are_public is not production


@pytest.mark.parametrize("wrong", ["prodution", "live", "production,staging", "'production'"])
def test_an_unknown_kind_of_installation_is_refused_with_the_known_ones(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENV", wrong)
    with pytest.raises(Misconfigured, match=r"AI_INFRA_ENV: .*'development', 'test', 'staging' or 'production'"):
        Settings()


@pytest.mark.parametrize("spelling", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize("variable", ["AI_INFRA_DATABASE_URL", "DATABASE_URL"])
def test_every_spelling_of_a_postgresql_address_is_understood(spelling: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, f"{spelling}://me:secret@db/models?sslmode=require")
    url = Settings().database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://me:secret@db/models?sslmode=require"


@pytest.mark.parametrize("wrong", ["", "mysql://me:secret@db/models", "postgresql+psycopg2://me:secret@db", "secret"])
def test_another_database_is_refused_without_showing_the_address(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", wrong)
    with pytest.raises(Misconfigured, match="AI_INFRA_DATABASE_URL") as refusal:
        Settings()
    assert "secret" not in str(refusal.value)


REMOTE = ["https://kms.example", "awskms:alias/release", "vault:release", "pkcs11:token=a;object=b"]


@pytest.mark.parametrize("uri", REMOTE)
def test_require_kms_is_content_with_every_signer_whose_key_is_elsewhere(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_KMS", "true")
    monkeypatch.setenv("AI_INFRA_SIGNER_URI", uri)
    assert Settings().signer_uris == (uri,) * 4


@pytest.mark.parametrize("own", ["file:/etc/signer.key", "env:", "httpd:x"])
@pytest.mark.parametrize("purpose", ["ARTIFACT", "EVALUATION", "PROMOTION", "AUDIT"])
def test_require_kms_refuses_a_single_purpose_whose_key_is_here(own: str, purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_KMS", "true")
    monkeypatch.setenv("AI_INFRA_SIGNER_URI", REMOTE[1])
    monkeypatch.setenv(f"AI_INFRA_{purpose}_SIGNER_URI", own)
    with pytest.raises(Misconfigured, match="REQUIRE_KMS is set"):
        Settings()


@pytest.mark.parametrize("key", [None, "AAAA"])
def test_require_kms_refuses_a_key_in_the_environment_and_no_key(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_KMS", "true")
    if key:
        monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", key)
    with pytest.raises(Misconfigured, match="REQUIRE_KMS is set"):
        Settings()


def test_a_kms_endpoint_may_carry_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_KMS_ENDPOINT", "https://kms.example")
    with pytest.raises(Misconfigured, match="AI_INFRA_KMS_PUBLIC_KEY_B64"):
        Settings()
    monkeypatch.setenv("AI_INFRA_KMS_ENDPOINT", "https://kms.example?public-key=AAAA")
    assert Settings().kms_endpoint == "https://kms.example?public-key=AAAA"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AI_INFRA_WORKERS", "abc", "A setting is wrong: AI_INFRA_WORKERS: Input should be a valid integer"),
        ("DATABASE_URL", "mysql://db", "A setting is wrong: AI_INFRA_DATABASE_URL: must be a PostgreSQL address"),
        ("REQUIRE_MTLS", "perhaps", "A setting is wrong: REQUIRE_MTLS: Input should be a valid boolean"),
        ("REQUIRE_KMS", "true", "A setting is wrong: REQUIRE_KMS is set, so"),
        (
            "AI_INFRA_NOTIFY_NETWORKS",
            "nonsense",
            "A setting is wrong: AI_INFRA_NOTIFY_NETWORKS: 'nonsense' is no network, such as 10.20.0.0/16.",
        ),
        (
            "AI_INFRA_TRUSTED_PROXIES",
            "10.0.0.0/8, x",
            "A setting is wrong: AI_INFRA_TRUSTED_PROXIES: 'x' is no network, such as 10.20.0.0/16.",
        ),
        ("AI_INFRA_NOTIFY_EVENTS", "promotion.*,foo", "A setting is wrong: AI_INFRA_NOTIFY_EVENTS: 'foo' is no type of event, such as "),
        ("AI_INFRA_OIDC_ALGORITHMS", "ES256,HS256", "A setting is wrong: AI_INFRA_OIDC_ALGORITHMS.1: Input should be"),
    ],
)
def test_what_is_wrong_is_named_as_the_operator_writes_it(name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as refusal:
        Settings()
    assert str(refusal.value).startswith(told)


def test_every_event_can_be_chosen_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "".join(path.read_text() for path in (Path(promotion_moves.__file__).parent).glob("*.py"))
    told = set(re.findall(r'"((?:training|promotion|approval|policy|key|artifact|evaluation|reproduction|card|import)\.[a-z]+)"', code))
    assert {"promotion.pending", "training.failed", "artifact.scanned"} <= told <= EVENT_TYPES
    monkeypatch.setenv("AI_INFRA_NOTIFY_EVENTS", ",".join({*webhook.TOLD, *told, "*", "approval.*"}))
    assert set(Settings().notify_events) >= told


def test_secrets_do_not_show_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", "postgresql://me:hunter2@db/models")
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "aHVudGVyMg==")
    assert "hunter2" not in repr(Settings())
    assert "aHVudGVyMg" not in repr(Settings())
