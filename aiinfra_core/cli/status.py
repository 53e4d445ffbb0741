"""`status`: what is configured, what runs and what is current where; it starts nothing."""

import os
from typing import Any

from sqlalchemy import make_url

from aiinfra_core import database
from aiinfra_core.audit_log.sequence import waiting
from aiinfra_core.cli import duties
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, note, say, say_fields, say_json, say_next, say_table
from aiinfra_core.cli.parts import signs_with_development_key
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.embedded import postgres, prefect_server
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.errors import Unavailable
from aiinfra_core.keys import loaded_signer
from aiinfra_core.migrate import pending
from aiinfra_core.registry import artifacts, promotions, rollout_views
from aiinfra_core.rollout_shown import words
from aiinfra_core.settings import Settings

_MOST_PENDING, _MOST_ROLLOUTS = 50, 50


def status(*, as_json: AsJson = False) -> ExitCode:
    """Show the state of this installation."""
    asked = Settings()
    embedded = asked.database_url is None
    runs = postgres.is_running(asked.home)
    settings = asked if embedded and not runs and not asked.production else current_settings()
    report = {
        "home": str(asked.home),
        "production": asked.production,
        "artifactRoot": settings.artifact_root,
        "signer": _signer(settings),
        "servers": {"postgres": runs, "prefect": _prefect(asked)},
        "database": {"kind": "embedded" if embedded else "configured", "name": _name(asked), "reachable": False, "pendingMigrations": []},
        "gates": duties.of_environments(settings),
        "current": [],
        "pending": [],
        "rollouts": [],
        "eventsWaiting": None,
    }
    problem = _look_inside(settings, report)
    if as_json:
        say_json(report)
    else:
        _say(report)
    if os.environ.get("AI_INFRA_SERVER"):
        note("This is this machine's own installation, not the service that AI_INFRA_SERVER names.")
    if problem:
        note(f"aiinfra: {problem}")
    return ExitCode.UNAVAILABLE if problem else ExitCode.OK


def _look_inside(settings: Settings, report: dict[str, Any]) -> str | None:
    """Add what the database holds; return why it cannot be read, if it should be there."""
    if settings.database_url is None:
        return None
    try:
        missing = pending(settings.database_url.get_secret_value())
        report["database"] |= {"reachable": True, "pendingMigrations": missing}
        if not missing:
            report |= _recorded(settings)
    except Unavailable as error:
        return str(error)
    return None


def _recorded(settings: Settings) -> dict[str, Any]:
    with database.snapshot(settings) as tx:
        current = [(place, artifacts.get(tx, place.artifact_id).version) for place in promotions.pointers(tx)]
        return {
            "current": [{**place.model_dump(mode="json", by_alias=True), "version": version} for place, version in current],
            "pending": duties.of_waiting(
                [(one, artifacts.get(tx, one.artifact_id).version) for one in promotions.waiting(tx, _MOST_PENDING)]
            ),
            "rollouts": [
                one.model_dump(mode="json", by_alias=True) for one in rollout_views.newest(tx, only_open=True, limit=_MOST_ROLLOUTS)
            ],
            "eventsWaiting": waiting(tx),
        }


def _signer(settings: Settings) -> dict[str, Any] | None:
    if not all(settings.signer_uris):
        return None
    signer = loaded_signer(settings, Purpose.PROMOTION)
    return {"signerId": signer.signer_id, "keyid": signer.public_key.keyid, "development": signs_with_development_key(settings)}


def _prefect(settings: Settings) -> str | None:
    home = settings.home
    return prefect_server.start(home).removesuffix("/api") if prefect_server.is_running(home) else None


def _name(settings: Settings) -> str | None:
    if settings.database_url is None:
        return None
    url = make_url(settings.database_url.get_secret_value())
    return f"{url.host or 'local socket'}/{url.database or ''}"


def _say(report: dict[str, Any]) -> None:
    signer, inside = report["signer"], report["database"]
    development = " (a development key; production refuses it)" if signer and signer["development"] else ""
    say_fields(
        {
            "home": report["home"],
            "database": f"{inside['name'] or inside['kind']}, {_level(inside)}",
            "artifacts": report["artifactRoot"] or "not made yet",
            "signer": f"{signer['signerId']}{development}" if signer else "not made yet",
            "Prefect UI": report["servers"]["prefect"] or "not running",
            "events waiting": report["eventsWaiting"],
        }
    )
    if report["current"]:
        rows = [(one["environment"], f"{one['model']}:{one['version']}", one["sequence"], one["updatedAt"]) for one in report["current"]]
        say_table(("  CURRENT IN", "VERSION", "SEQUENCE", "SINCE"), [(f"  {place}", *rest) for place, *rest in rows])
    _say_rollouts(report["rollouts"])
    duties.say_duties(report["gates"])
    if step := _next_step(inside):
        say_next(step)
    elif inside["reachable"] and not report["current"]:
        say("Nothing is current in any environment.")
    duties.say_waiting(report["pending"])


def _say_rollouts(rows: list[dict[str, Any]]) -> None:
    if rows:
        about = [(f"{one['model']}:{one['challengerVersion']}", f"{one['model']}:{one['championVersion']}") for one in rows]
        told = [(one["environment"], words.share(one["weight"]), one["status"], one["looks"], one["id"]) for one in rows]
        shown = [(f"  {new}", old, *rest) for (new, old), rest in zip(about, told, strict=True)]
        say_table(("  ROLLED OUT", "OVER", "IN", "WEIGHT", "STATUS", "LOOKS", "ID"), shown)


def _level(inside: dict[str, Any]) -> str:
    if not inside["reachable"]:
        return "not running" if inside["kind"] == "embedded" else "cannot be reached"
    missing = inside["pendingMigrations"]
    return f"lacks {', '.join(missing)}" if missing else "every migration applied"


def _next_step(inside: dict[str, Any]) -> str | None:
    if inside["pendingMigrations"]:
        return "aiinfra migrate"
    return "aiinfra up" if inside["kind"] == "embedded" and not inside["reachable"] else None
