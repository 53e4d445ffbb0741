"""What is filled in when nothing is configured, what is left alone, and that production gets nothing filled in."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core import migrate
from aiinfra_core.embedded import development_key, postgres
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.errors import Misconfigured
from aiinfra_core.settings import Settings

PRODUCTION = {
    "AI_INFRA_ENV": "production",
    "AI_INFRA_DATABASE_URL": "postgresql://me@db/models",
    "AI_INFRA_ARTIFACT_ROOT": "s3://models",
    "AI_INFRA_KMS_ENDPOINT": "https://kms.example",
    "AI_INFRA_KMS_PUBLIC_KEY_B64": "AAAA",
    "AI_INFRA_TRUST_ROOT": "/etc/ai-infra/trust/1.root.json",
}


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)


def test_with_nothing_configured_everything_is_filled_in_and_stays_the_same(home: Path) -> None:
    settings = current_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == postgres.database_url(home)
    assert migrate.pending(postgres.database_url(home)) == []
    assert settings.artifact_root == (home / "store").as_uri()
    assert settings.signer_uri == f"file:{home / 'development.key'}"
    assert development_key.is_development_key(home / "development.key")
    assert settings.signer_id == "development"
    assert current_settings() == settings


def test_asking_again_starts_no_process(home: Path) -> None:
    program = (
        "import sys; from aiinfra_core.embedded.defaults import current_settings\n"
        "current_settings(); started = []\n"
        "sys.addaudithook(lambda event, details: started.append(event) if event in ('subprocess.Popen', 'os.fork') else None)\n"
        "current_settings(); assert not started, started"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert postgres.is_running(home)


def test_what_is_configured_is_used_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me@db/models")
    monkeypatch.setenv("AI_INFRA_ARTIFACT_ROOT", "s3://models")
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "AAAA")
    monkeypatch.setenv("AI_INFRA_SIGNER_ID", "me")
    settings = current_settings()
    assert settings == Settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://me@db/models"
    assert not home.exists()


@pytest.mark.parametrize("given", ["AI_INFRA_SIGNER_KEY_B64", "AI_INFRA_SIGNER_URI", "AI_INFRA_KMS_ENDPOINT"])
def test_a_key_that_is_given_is_not_called_the_development_key(given: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me@db/models")
    monkeypatch.setenv("AI_INFRA_KMS_PUBLIC_KEY_B64", "AAAA")
    monkeypatch.setenv(given, "http://kms.example")
    settings = current_settings()
    assert settings.signer_id is None
    assert settings.signer_uri == Settings().signer_uri
    assert not home.exists()


def test_production_with_everything_set_is_left_alone(production: None, home: Path) -> None:
    assert current_settings() == Settings()
    assert not home.exists()


@pytest.mark.parametrize("missing", ["AI_INFRA_DATABASE_URL", "AI_INFRA_ARTIFACT_ROOT", "AI_INFRA_TRUST_ROOT", "AI_INFRA_KMS_ENDPOINT"])
def test_production_names_each_missing_part_and_makes_nothing(
    missing: str, production: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(Misconfigured, match=f"production takes no development default; set {missing}"):
        current_settings()
    assert not home.exists()


def test_production_with_nothing_set_names_all_of_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ENV", "production")
    named = "AI_INFRA_DATABASE_URL, AI_INFRA_ARTIFACT_ROOT, AI_INFRA_TRUST_ROOT, AI_INFRA_KMS_ENDPOINT"
    with pytest.raises(Misconfigured, match=named):
        current_settings()
    assert not home.exists()


def test_production_refuses_a_development_key_that_is_named(production: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = development_key.ensure(home).rename(home / "signing.key")
    monkeypatch.delenv("AI_INFRA_KMS_ENDPOINT")
    for spelling in (f"file:{elsewhere}", f"file://{elsewhere}", "file:~/home/signing.key", f"file:{elsewhere}?signer-id=release"):
        monkeypatch.setenv("AI_INFRA_SIGNER_URI", spelling)
        with pytest.raises(Misconfigured, match="set AI_INFRA_KMS_ENDPOINT"):
            current_settings()


def test_production_refuses_a_development_key_for_one_purpose(production: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_AUDIT_SIGNER_URI", f"file:{development_key.ensure(home)}?signer-id=audit")
    with pytest.raises(Misconfigured, match="set AI_INFRA_KMS_ENDPOINT"):
        current_settings()


def test_production_is_content_with_a_signer_for_each_purpose(production: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AI_INFRA_KMS_ENDPOINT")
    for purpose in ("ARTIFACT", "EVALUATION", "PROMOTION", "AUDIT"):
        with pytest.raises(Misconfigured, match="set AI_INFRA_KMS_ENDPOINT"):
            current_settings()
        monkeypatch.setenv(f"AI_INFRA_{purpose}_SIGNER_URI", "awskms:alias/release")
    assert current_settings() == Settings()


def test_production_refuses_the_embedded_database_that_is_named(production: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_DATABASE_URL", postgres.database_url(home))
    with pytest.raises(Misconfigured, match="set AI_INFRA_DATABASE_URL"):
        current_settings()
