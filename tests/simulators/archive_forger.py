"""Somebody with every right on an archive, and perhaps the key of the log, who wants a rebuilt database to say something else."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiinfra_core import canonical_json, checksums
from aiinfra_core.audit_log.delivering.archive import key_of, key_of_value
from aiinfra_core.evidence import entry
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.signing.signer import Signer

Payload = dict[str, Any]


def entries(archive: Path) -> list[Path]:
    """Return the files of the archived events, in the order of the log."""
    return sorted(archive.rglob("*.json"), key=lambda path: int(read(path)["seq"]))


def key_in(archive: Path, path: Path) -> str:
    """Return what a file is called in its archive."""
    return path.relative_to(archive).as_posix()


def read(path: Path) -> dict[str, Any]:
    """Return an entry as it is written."""
    return dict(json.loads(path.read_bytes()))


def overwrite(path: Path, data: bytes) -> None:
    """Replace a file, whatever its mode."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def edit(path: Path, **columns: Any) -> None:
    """Change columns of an entry, and nothing else."""
    overwrite(path, canonical_json.dumps(read(path) | columns))


def put_value(archive: Path, data: bytes) -> dict[str, Any]:
    """Put a value where it belongs and return how an event names it."""
    digest = checksums.sha256_hex(data)
    overwrite(archive / key_of_value(digest), data)
    return {"sha256": digest, "size": len(data)}


def rewrite(archive: Path, signer: Signer, change: Callable[[list[Payload]], None], spelled: Mapping[str, Any] | None = None) -> None:
    """Write the whole log anew, chained and signed as it should be, after a change of its payloads; `spelled` overrides columns."""
    files = entries(archive)
    payloads = [canonical_json.loads(read(path)["payload"]) for path in files]
    for path in files:
        path.unlink()
    change(payloads)
    head = Head()
    for payload in payloads:
        row = follow(head, canonical_json.dumps(payload).decode())
        row |= {"signature": base64.b64encode(signer.sign(bytes.fromhex(row["hash"]))).decode(), "signer_id": signer.signer_id}
        row |= spelled or {}
        overwrite(archive / key_of(row), entry.leaf(row))
        head = head_after(row)
