"""The settings of the environment with every part running, for commands that need them all."""

import os

from aiinfra_core.cli.output import working
from aiinfra_core.embedded import development_key, postgres
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.migrate import pending
from aiinfra_core.settings import Settings


def running_parts(*, always_here: bool = False) -> Settings:
    """Return the current settings, telling when the embedded PostgreSQL has to be started first.

    `always_here` is for what no service could be asked to do, whatever AI_INFRA_SERVER says.

    Raises:
        BadInput: a service is named where everything is to be done, and this cannot be done there.
        Misconfigured: a setting is wrong, or the configured database lacks migrations.
        Unavailable: the database cannot be reached or started.
    """
    if os.environ.get("AI_INFRA_SERVER") and not always_here:
        raise BadInput("This works on this machine's own installation, but AI_INFRA_SERVER names a service; unset it to do it here.")
    settings = started_parts()
    if Settings().database_url is not None and settings.database_url is not None:
        refuse_unmigrated(settings.database_url.get_secret_value())
    return settings


def started_parts() -> Settings:
    """Return the current settings as `running_parts` does, whatever the level of the configured database."""
    asked = Settings()
    if asked.database_url is not None or asked.production or postgres.is_running(asked.home):
        return current_settings()
    with working("Starting the embedded PostgreSQL"):
        return current_settings()


def refuse_unmigrated(database_url: str) -> None:
    """Check that a configured database has every migration.

    Raises:
        Misconfigured: it lacks some.
    """
    if missing := pending(database_url):
        raise Misconfigured(f"The database lacks {', '.join(missing)}; type: aiinfra migrate")


def signs_with_development_key(settings: Settings) -> bool:
    """Say whether a signer of filled-in settings is a development key."""
    return any(uri is not None and development_key.is_named_by(uri) for uri in settings.signer_uris)
