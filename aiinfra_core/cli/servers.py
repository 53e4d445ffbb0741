"""Making, starting and stopping what stands in for parts nobody configured: `init`, `up`, `down`, `migrate`."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, working
from aiinfra_core.cli.parts import signs_with_development_key, started_parts
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.embedded import development_key, postgres, prefect_server
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.keys import loaded_signer
from aiinfra_core.migrate import grant_roles, pending
from aiinfra_core.migrate import migrate as apply_missing
from aiinfra_core.settings import Settings


def init(
    *,
    production: Annotated[bool, Parameter(negative=(), show_default=False, help="Prepare a production installation in --out.")] = False,
    out: Annotated[Path | None, Parameter(help="A new folder for its keys, trust root and environment file.")] = None,
    signer: Annotated[list[str] | None, Parameter(negative=(), metavar="PURPOSE=URI", help="A signer that is there already.")] = None,
    root_key: Annotated[list[str] | None, Parameter(negative=(), metavar="URI|KEY", help="Who holds the trust root.")] = None,
    threshold: Annotated[int, Parameter(help="How many root keys must sign a root.")] = 1,
    targets_key: Annotated[str | None, Parameter(help="URI of the signer of trust changes.")] = None,
    owner: Annotated[str, Parameter(help="Who holds the signers' keys.")] = "operator",
    log: Annotated[str | None, Parameter(help="The audit log's name; without it AI_INFRA_LOG_ORIGIN.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the home folder, the embedded database and the development key, as far as they are needed and missing."""
    if production or out or signer or root_key:
        from aiinfra_core.cli.production import init_production  # imported late: TUF takes a while

        if not production or out is None:
            raise BadInput("A production installation is prepared with --production and --out DIR.")
        return init_production(
            out,
            signers=signer or (),
            root_keys=root_key or (),
            threshold=threshold,
            targets_key=targets_key,
            owner=owner,
            log=log,
            as_json=as_json,
        )
    asked = Settings()
    before = _there(asked)
    settings = started_parts()
    made = [name for name, was_there in before.items() if not was_there and _there(asked)[name]]
    promoter = loaded_signer(settings, Purpose.PROMOTION)
    lacking = pending(settings.database_url.get_secret_value()) if settings.database_url else []
    facts = {
        "home": str(settings.home),
        "database": "embedded" if asked.database_url is None else "configured",
        "artifactRoot": settings.artifact_root,
        "signerId": promoter.signer_id,
        "developmentKey": signs_with_development_key(settings),
    }
    if as_json:
        return say_json({**facts, "made": made, "pendingMigrations": lacking})
    say(f"Made: {', '.join(made)}." if made else "Everything was there already.")
    say_fields({"home": facts["home"], "database": facts["database"], "artifacts": facts["artifactRoot"], "signer": promoter.signer_id})
    return say_next("aiinfra migrate" if lacking else "aiinfra train --help")


def up(*, as_json: AsJson = False) -> None:
    """Start the embedded PostgreSQL and the local Prefect server unless they run."""
    home = Settings().home
    elsewhere = os.environ.get("PREFECT_API_URL")
    started_parts()
    api = elsewhere or _prefect_answers(home)
    database = "embedded" if Settings().database_url is None else "configured"
    if as_json:
        return say_json({"home": str(home), "database": database, "prefectApi": api, "prefectUi": _ui(api)})
    say_fields({"database": f"{database}, running", "Prefect UI": _ui(api)})
    return say_next("aiinfra status")


def down(*, as_json: AsJson = False) -> None:
    """Stop the embedded PostgreSQL and the local Prefect server."""
    home = Settings().home
    with working("Stopping"):
        stopped = {"prefect": prefect_server.stop(home), "postgres": postgres.stop(home)}
    if as_json:
        return say_json({"stopped": [name for name, was_there in stopped.items() if was_there]})
    return say(f"Stopped: {', '.join(name for name, was_there in stopped.items() if was_there) or 'nothing ran'}.")


def migrate(
    *,
    roles: Annotated[bool, Parameter(negative=(), help="Also make the role aiinfra_app and give it its rights.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply missing migrations to the configured database, or to the embedded one."""
    url = _database_url()
    applied = apply_missing(url)
    if roles:
        grant_roles(url)
    if as_json:
        return say_json({"applied": applied, "rolesGranted": roles})
    say(f"Applied: {', '.join(applied)}." if applied else "The database has every migration.")
    return say("The role aiinfra_app has its rights.") if roles else None


def _there(settings: Settings) -> dict[str, bool]:
    return {
        "home": settings.home.exists(),
        "database": (settings.home / "postgres" / "data").exists(),
        "key": development_key.path_in(settings.home).exists(),
    }


def _prefect_answers(home: Path) -> str:
    if prefect_server.is_running(home):
        return prefect_server.start(home)
    with working("Starting the Prefect server, the first time about half a minute") as tell:
        return prefect_server.ensure_running(home, on_wait=lambda seconds: tell(f"{seconds:.0f} s"))


def _ui(api: str) -> str:
    return api.removesuffix("/").removesuffix("/api")


def _database_url() -> str:
    settings = Settings()
    if settings.database_url is None and not settings.production:
        with working("Starting the embedded PostgreSQL"):
            return postgres.ensure_running(settings.home)
    if settings.database_url is None:
        raise Misconfigured("No database is configured; set AI_INFRA_DATABASE_URL.")
    return settings.database_url.get_secret_value()
