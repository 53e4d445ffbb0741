"""Which settings are missing, and what is filled in for them during development; production gets nothing filled in."""

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from aiinfra_core.embedded import development_key, postgres
from aiinfra_core.errors import Misconfigured
from aiinfra_core.migrate import grant_roles, migrate
from aiinfra_core.settings import DEVELOPMENT_SIGNER_ID, Settings


def current_settings() -> Settings:
    """Return the settings of the environment with every missing part filled in, starting what has to run for it.

    Raises:
        Misconfigured: a part is missing, or a development part is named, in production; or a setting is wrong.
        Unavailable: the embedded PostgreSQL does not start.
    """
    settings = Settings()
    if settings.production:
        refuse_development_parts(settings)
        return settings
    return settings.model_copy(update=_database(settings) | _without_database(settings))


def settings_without_database() -> Settings:
    """Return the settings of the environment with every missing part but the database filled in; nothing is started for them.

    Raises:
        Misconfigured: a setting is wrong.
    """
    settings = Settings()
    return settings if settings.production else settings.model_copy(update=_without_database(settings))


def trust_folder(home: Path) -> Path:
    """Return where this home's own trust root is, made or not."""
    return home / "trust"


def refuse_development_parts(settings: Settings) -> None:
    """See that every part a production installation needs is set, and none is one of development.

    Raises:
        Misconfigured: with the names of those that are not.
    """
    home = settings.home
    needed = {
        "AI_INFRA_DATABASE_URL": settings.database_url is None or settings.database_url.get_secret_value() == postgres.database_url(home),
        "AI_INFRA_ARTIFACT_ROOT": not settings.artifact_root,
        "AI_INFRA_TRUST_ROOT": settings.trust_root is None,
        "AI_INFRA_KMS_ENDPOINT": any(uri is None or development_key.is_named_by(uri) for uri in settings.signer_uris),
    }
    if missing := [name for name, is_missing in needed.items() if is_missing]:
        raise Misconfigured(f"AI_INFRA_ENV=production takes no development default; set {', '.join(missing)}.")


def _without_database(settings: Settings) -> dict[str, Any]:
    return _artifacts(settings) | _signer(settings) | _trust(settings)


def _database(settings: Settings) -> dict[str, Any]:
    if settings.database_url is not None:
        return {}
    return {"database_url": SecretStr(_migrated(postgres.ensure_running(settings.home)))}


@cache
def _migrated(database_url: str) -> str:
    if migrate(database_url):
        grant_roles(database_url)
    return database_url


def _artifacts(settings: Settings) -> dict[str, Any]:
    return {} if settings.artifact_root else {"artifact_root": (settings.home.resolve() / "store").as_uri()}


def _signer(settings: Settings) -> dict[str, Any]:
    if all(settings.signer_uris):
        return {}
    return {"signer_uri": f"file:{development_key.ensure(settings.home)}", "signer_id": settings.signer_id or DEVELOPMENT_SIGNER_ID}


def _trust(settings: Settings) -> dict[str, Any]:
    pinned = trust_folder(settings.home) / "1.root.json"
    return {"trust_root": pinned} if settings.trust_root is None and pinned.is_file() else {}
