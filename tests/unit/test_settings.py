"""What the environment says and how it is refused when it is wrong; nothing is started here."""

import pytest

from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.settings import Settings, environment_named


def test_environments_are_given_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENVIRONMENTS", "qa, staging,prod")
    assert Settings().environments == ("qa", "staging", "prod")


@pytest.mark.parametrize("wrong", ["", "staging,,prod", "staging,staging", "Prod", "a/b"])
def test_wrong_environments_are_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENVIRONMENTS", wrong)
    with pytest.raises(Misconfigured, match="environments"):
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


def test_secrets_do_not_show_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", "postgresql://me:hunter2@db/models")
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "aHVudGVyMg==")
    assert "hunter2" not in repr(Settings())
    assert "aHVudGVyMg" not in repr(Settings())
