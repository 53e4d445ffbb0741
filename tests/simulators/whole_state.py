"""Everything a run leaves behind, written so that two runs that did the same compare equal: without ids, times and signatures."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import select

from aiinfra_core import database
from aiinfra_core.columns import metadata
from aiinfra_core.settings import Settings

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


def whole_state(settings: Settings) -> dict[str, list[str]]:
    """Return every row of every table and every stored file; what depends on ids, times or the place is blanked."""
    with database.transaction(settings) as tx:
        tables = {name: [dict(row) for row in tx.execute(select(table)).mappings()] for name, table in metadata.tables.items()}
    # How many checkpoints there are depends on when a run was killed; the newest covers the same in the end.
    tables["audit_checkpoints"] = [{"size": max((row["size"] for row in tables["audit_checkpoints"]), default=0)}]
    tables["audit_tiles"] = [row | {"hashes": len(row["hashes"])} for row in tables["audit_tiles"]]
    root = Path(unquote(urlsplit(str(settings.artifact_root)).path))
    lasting = {row[name] for row in tables["training_jobs"] for name in ("checksum", "spec_digest")}
    state = {
        name: [json.dumps(_without_signed_bytes(row), default=_as_text, sort_keys=True) for row in rows] for name, rows in tables.items()
    }
    files = [path for path in root.rglob("*") if path.is_file()]
    published = sorted(path for path in files if path.is_relative_to(root / "checkpoints"))
    state["files"] = [f"{path.relative_to(root)} {path.stat().st_size}" for path in files if path not in published[:-1]]
    return {name: sorted(_blank(row.replace(str(settings.artifact_root), "ROOT"), lasting) for row in rows) for name, rows in state.items()}


def _blank(text: str, lasting: set[str]) -> str:
    text = _TIME.sub("TIME", _ID.sub("ID", text))
    return _DIGEST.sub(lambda found: found[0] if found[0] in lasting else "DIGEST", text)


def _without_signed_bytes(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in ("envelope", "signature", "seq", "id", "salt")}
    if isinstance(payload := shown.get("payload"), str):
        event = json.loads(payload)
        event["rows"] = {table: _without_signed_bytes(row) for table, row in event.get("rows", {}).items()}
        shown["payload"] = event
    return shown


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
