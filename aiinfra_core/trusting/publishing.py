"""Putting a trust root where everybody finds it, and telling of it in the audit log. What is there is never overwritten."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from aiinfra_core import artifact_store, database, trust_directory
from aiinfra_core.artifact_store import Location, objects
from aiinfra_core.audit_log.sequence import sequence_quietly
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import Conflict, NotFound
from aiinfra_core.evidence.trust_root import TrustRoot, parse_trust
from aiinfra_core.evidence.tuf_metadata import TARGETS, TRUST, root_name, root_versions
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry.trust import published
from aiinfra_core.settings import Settings

FOLDER = "trust/"
_NUMBERED = re.compile(r"([1-9][0-9]{0,8})\.(root|targets)\.json")


@dataclass(frozen=True)
class Publication:
    """Where a trust root was put; `first` is False when the same was published before."""

    uri: str
    root_version: int
    targets_version: int
    event_type: Literal["key.rotated", "key.compromised"]
    first: bool


def publish(settings: Settings, folder: Path, *, actor: str) -> Publication:
    """Put every root, the targets and the trust below `trust/` in the artifact store and append one audit event; repeatable.

    Raises:
        Conflict: newer versions are published, or others under the same number.
        Misconfigured, EvidenceBroken: the trust root does not count, or the key for audit events counts no more.
        Unavailable: the store or the database cannot be reached.
    """
    audit_signer(settings)  # before anything is published: who could not tell of it must not
    location, files = artifact_store.location(settings), trust_directory.read(folder)
    if not root_versions(files):
        raise NotFound(f"{folder} holds no trust root that counts; look with: aiinfra trust show {folder}")
    opened = trust_directory.opened(folder / root_name(root_versions(files)[0]))
    before = _published(location)
    _refuse_going_back(opened, before)
    event_type = _event_type(opened.trust, _trust_before(location, before["targets"], opened.targets_version))
    _put(location, files, opened.targets_version)
    with database.transaction(settings) as tx:
        first = published(
            tx,
            event_type,
            subject=f"trust:{opened.root_version}.{opened.targets_version}",
            digests=_digests(files, opened.root_version),
            actor=actor,
            at=datetime.now(UTC),
        )
    sequence_quietly(settings, audit_signer)
    return Publication(f"{location.root}/{FOLDER}", opened.root_version, opened.targets_version, event_type, first)


def _published(location: Location) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"root": [], "targets": []}
    for name in objects.children(location, FOLDER):
        if match := _NUMBERED.fullmatch(name):
            found[match[2]].append(int(match[1]))
    return found


def _refuse_going_back(opened: TrustRoot, before: Mapping[str, list[int]]) -> None:
    for kind, version in (("root", opened.root_version), ("targets", opened.targets_version)):
        if (newest := max(before[kind], default=0)) > version:
            raise Conflict(f"{kind} version {newest} is published already, and this is {version}; publish the newest trust directory.")


def _trust_before(location: Location, versions: list[int], version: int) -> Trust | None:
    earlier = [one for one in versions if one < version]
    if not earlier:
        return None
    targets = objects.read(location, f"{FOLDER}{max(earlier)}.{TARGETS}")
    return parse_trust(objects.read(location, FOLDER + trust_directory.copy_name(targets)))


def _event_type(now: Trust, before: Trust | None) -> Literal["key.rotated", "key.compromised"]:
    known = {key.keyid: key.compromise for key in before.keys} if before else {}
    new = [key for key in now.keys if key.compromise is not None and key.compromise != known.get(key.keyid)]
    return "key.compromised" if new else "key.rotated"


def _put(location: Location, files: Mapping[str, bytes], targets_version: int) -> None:
    for version in root_versions(files):
        objects.put(location, FOLDER + root_name(version), files[root_name(version)])
    objects.put(location, FOLDER + trust_directory.copy_name(files[TARGETS]), files[TRUST])
    objects.put(location, f"{FOLDER}{targets_version}.{TARGETS}", files[TARGETS])


def _digests(files: Mapping[str, bytes], root_version: int) -> dict[str, str]:
    return {name: sha256_hex(files[file]) for name, file in (("root", root_name(root_version)), ("targets", TARGETS), ("trust", TRUST))}
