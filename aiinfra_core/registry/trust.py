"""That a trust root was published: told once for each pair of versions. The files themselves live in the artifact store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import uuid4

from sqlalchemy import Connection

from aiinfra_core.audit_log.append import append, event
from aiinfra_core.registry.requests import claim

_OPERATION = "publish_trust"


def published(
    tx: Connection,
    event_type: Literal["key.rotated", "key.compromised"],
    *,
    subject: str,
    digests: Mapping[str, str],
    actor: str,
    at: datetime,
) -> bool:
    """Tell that a trust root counts from now on; return whether this is the first time.

    Args:
        tx: the transaction that tells.
        event_type: whether a key is newly known to be compromised.
        subject: `trust:ROOTVERSION.TARGETSVERSION`.
        digests: of the root, the targets and the trust, hex SHA-256 of their bytes.
        actor: who published it.
        at: when (UTC).

    Raises:
        Conflict: these versions were published with other bytes.
    """
    this = uuid4()
    if claim(tx, _OPERATION, subject, dict(digests), this, at) != this:
        return False
    append(tx, event(event_type, at=at, actor=actor, request_id=subject, subject=subject, rows={}, digests=digests))
    return True
