"""From one pinned root to whose signatures count: the TUF chain of roots, the targets metadata, `trust.json`.

Pure: files come as bytes. The steps, cited in the code:

1. The pinned root is believed as it is, if a threshold of its own keys signed it.
2. Each root after it rises by one version, without a gap, and is signed by a threshold of the root before and of itself.
3. The last root has not expired and is not older than one that was seen before.
4. `targets.json` is signed by a threshold of the last root's targets role, has not expired and is not older than one seen before.
5. `trust.json` has the length and SHA-256 that the targets name, and is well formed.

What the trust then means is told by `evidence.trust`; making and changing these files lives in `trust_editing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import trust as trust_rules
from aiinfra_core.evidence import tuf_metadata
from aiinfra_core.evidence.tuf_metadata import MAX_ROOTS, TARGETS, TRUST, root_name

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Targets

MAX_TRUST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class TrustRoot:
    """A trust that was verified, the versions that said so and when each of the two expires."""

    trust: Trust
    root_version: int
    targets_version: int
    root_expires: datetime
    targets_expires: datetime

    @property
    def expires(self) -> datetime:
        """When the first of the two expires."""
        return min(self.root_expires, self.targets_expires)


def open_trust_root(
    pinned: bytes, files: Mapping[str, bytes], *, now: datetime, least_root_version: int = 0, least_targets_version: int = 0
) -> TrustRoot:
    """Return the trust that the pinned root leads to.

    Args:
        pinned: the bytes of one `N.root.json` that came to us by a way we believe.
        files: the trust directory, name to bytes; names that mean nothing here are ignored.
        now: nothing that expired at or before this moment counts; with a time zone.
        least_root_version: the highest root version seen before, so that nobody leads us back.
        least_targets_version: likewise of `targets.json`.

    Raises:
        EvidenceBroken: at `trust root`, `trust version`, `trust expiry` or `trust.json`.
    """
    root = newest_root(pinned, files)
    _check_version(root_name(root.version), root.version, least_root_version)  # 3
    _check_expiry(root_name(root.version), root, now)  # 3
    metadata = tuf_metadata.parse_targets(_file(files, TARGETS))
    tuf_metadata.require_threshold(root, "targets", metadata, TARGETS)  # 4
    targets = metadata.signed
    _check_version(TARGETS, targets.version, least_targets_version)  # 4
    _check_expiry(TARGETS, targets, now)  # 4
    return TrustRoot(_named_trust(targets, files), root.version, targets.version, root.expires, targets.expires)


def newest_root(pinned: bytes, files: Mapping[str, bytes]) -> "Root":
    """Follow the chain of roots from the pinned one; expiry is not looked at.

    Raises:
        EvidenceBroken: at `trust root` or `trust version`.
    """
    first = tuf_metadata.parse_root(pinned, "the pinned root")
    tuf_metadata.require_threshold(first.signed, "root", first, "the pinned root")  # 1
    _check_same(first, files)
    root = first.signed
    later = [version for version in tuf_metadata.root_versions(files) if version > root.version]
    if len(later) > MAX_ROOTS:
        raise EvidenceBroken("trust root", f"there are more than {MAX_ROOTS} roots after the pinned one; pin a newer one.")
    for version in later:
        root = _next_root(root, version, files[root_name(version)])
    return root


def targets_version(data: bytes) -> int:
    """Return the version that a `targets.json` seen before claims, for `least_targets_version`.

    Raises:
        EvidenceBroken: at `trust root`; it is no TUF targets metadata.
    """
    return tuf_metadata.parse_targets(data).signed.version


def parse_trust(data: bytes) -> Trust:
    """Read `trust.json` strictly; whether it is the one the targets name is not looked at.

    Raises:
        EvidenceBroken: at `trust.json`.
    """
    if len(data) > MAX_TRUST_BYTES:
        raise EvidenceBroken(TRUST, f"it is larger than {MAX_TRUST_BYTES} bytes.")
    try:
        canonical_json.loads(data, what="It")
        return trust_rules.check(Trust.model_validate_json(data, strict=True, by_alias=True, by_name=False))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise EvidenceBroken(TRUST, f"it is malformed at {where[:200] or 'its top'}: {first['msg'][:200]}.") from None
    except BadInput as error:
        raise EvidenceBroken(TRUST, str(error)) from None


def _check_same(pinned: "Metadata[Root]", files: Mapping[str, bytes]) -> None:
    name = root_name(pinned.signed.version)
    if name in files and tuf_metadata.parse_root(files[name], name).signed_bytes != pinned.signed_bytes:
        raise EvidenceBroken("trust root", f"{name} is not the pinned root of that version; these files belong to another trust root.")


def _next_root(root: "Root", version: int, data: bytes) -> "Root":
    name = root_name(version)
    if version != root.version + 1:  # 2
        raise EvidenceBroken("trust version", f"{root_name(root.version + 1)} is missing between root {root.version} and {version}.")
    metadata = tuf_metadata.parse_root(data, name)
    if metadata.signed.version != version:  # 2
        raise EvidenceBroken("trust version", f"{name} says it is version {metadata.signed.version}.")
    tuf_metadata.require_threshold(root, "root", metadata, name)  # 2
    tuf_metadata.require_threshold(metadata.signed, "root", metadata, name)  # 2
    return metadata.signed


def _named_trust(targets: "Targets", files: Mapping[str, bytes]) -> Trust:  # 5
    data, digest = _file(files, TRUST), tuf_metadata.named_trust(files[TARGETS])
    if len(data) != targets.targets[TRUST].length or sha256(data).hexdigest() != digest:
        raise EvidenceBroken(TRUST, f"it is not the file that {TARGETS} version {targets.version} names.")
    return parse_trust(data)


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise EvidenceBroken("trust root", f"{name} is missing.")
    return files[name]


def _check_version(name: str, version: int, least: int) -> None:
    if version < least:
        raise EvidenceBroken("trust version", f"{name} has version {version}, but {least} was seen before; somebody leads us back.")


def _check_expiry(name: str, signed: "Root | Targets", now: datetime) -> None:
    if signed.is_expired(now):
        raise EvidenceBroken("trust expiry", f"{name} expired at {signed.expires.isoformat()}; get the newest trust files.")
