"""The router's webhook: whoever splits traffic between versions is told of every change of it, in order, out of the log.

Each message holds how traffic is to be split now, whole, and never only what changed; (`sequence`, `changes`) rises with each. A change
that was overtaken by the time it is told is passed by: one that tells of the newer stands behind it in the log, so whoever begins to
listen today, or hears the log once more, is not led through what was yesterday.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.delivering.signed_post import Door, post
from aiinfra_core.audit_log.delivering.sinks import Row, Sink, Take
from aiinfra_core.domain.rollout_spec import WHOLE
from aiinfra_core.errors import BadInput
from aiinfra_core.settings import Settings

_STANDING = text("""
SELECT here.sequence, coalesce(here.changes, 0) AS changes, rollout.id AS rollout_id, rollout.step, coalesce(rollout.weight, 0) AS weight,
  rollout.spec ->> 'unit' AS unit, champion.id, champion.version, champion.artifact_uri, champion.digest_kind, champion.checksum,
  challenger.id AS new_id, challenger.version AS new_version, challenger.artifact_uri AS new_artifact_uri,
  challenger.digest_kind AS new_digest_kind, challenger.checksum AS new_checksum
FROM environment_pointers AS here
JOIN model_artifacts AS champion ON champion.id = here.artifact_id
LEFT JOIN rollouts AS rollout ON rollout.id = here.rollout_id
LEFT JOIN model_promotions AS asked ON asked.id = rollout.promotion_id
LEFT JOIN model_artifacts AS challenger ON challenger.id = asked.artifact_id
WHERE here.environment = :environment AND here.model = :model""")


def to(settings: Settings, connection: Connection, sink: Sink) -> Take:
    """Return what tells a router of changes of traffic, each only after the one before it was taken; all else is passed by."""
    door = Door(sink, settings.router_secret, settings.notify_networks, "AI_INFRA_ROUTER")

    def take(rows: Sequence[Row]) -> Iterator[str | None]:
        for row in rows:
            try:
                told = _told(connection, row)
            except (BadInput, KeyError, TypeError, AttributeError) as error:
                yield f"No router could be told of the event: {error}"
            else:
                yield None if told is None else post(door, str(row["id"]), told)

    return take


def _told(connection: Connection, row: Row) -> dict[str, Any] | None:
    """Return what is told of an event, None where it changed nothing about traffic, or something else did since."""
    payload = canonical_json.loads(row["payload"], what="The payload")
    pointer = payload["rows"].get("environment_pointers")
    if pointer is None:
        return None
    place = {"environment": pointer["environment"], "model": pointer["model"]}
    now = connection.execute(_STANDING, place).mappings().one_or_none()
    if now is None or (now["sequence"], now["changes"]) != (pointer["sequence"], pointer.get("changes") or 0):
        return None
    data = place | {"sequence": now["sequence"], "changes": now["changes"], "seq": row["seq"], "actor": payload["actor"]}
    return {"type": row["event_type"], "timestamp": payload["time"], "data": data | _split(now)}


def _split(now: Mapping[Any, Any]) -> dict[str, Any]:
    """Return who gets how much: weights are of 10,000 and add up to that."""
    challenger = None if now["new_id"] is None else _arm(now, "new_", now["weight"])
    return {
        "champion": _arm(now, "", WHOLE - now["weight"]),
        "challenger": challenger,
        "rolloutId": _text(now["rollout_id"]),
        "step": now["step"],
        "unit": now["unit"],
    }


def _arm(now: Mapping[Any, Any], of: str, weight: int) -> dict[str, Any]:
    return {
        "weight": weight,
        "artifactId": _text(now[f"{of}id"]),
        "version": now[f"{of}version"],
        "artifactUri": now[f"{of}artifact_uri"],
        "digestKind": now[f"{of}digest_kind"],
        "checksum": now[f"{of}checksum"],
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
