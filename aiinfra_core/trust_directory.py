"""Reading a trust directory: a pinned `N.root.json` and the files beside it, read again only when one of them changed.

`targets.json` is what changes in one step: the `trust.json` it names is also there under its digest, before and after, so that a reader
between two writes finds it. What follows from the files lives in `evidence.trust_root`, writing them in `trusting`.
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from aiinfra_core.errors import EvidenceBroken, Misconfigured
from aiinfra_core.evidence.trust_root import MAX_TRUST_BYTES, TrustRoot, open_trust_root
from aiinfra_core.evidence.tuf_metadata import ROOT_NAME, TARGETS, TRUST, named_trust

_ATTEMPTS = 3
_BETWEEN_ATTEMPTS_SECONDS = 0.05
_State = tuple[tuple[str, int, int], ...]
_opened: dict[Path, tuple[_State, TrustRoot]] = {}


def opened(pinned: Path) -> TrustRoot:
    """Return the trust root that a pinned root leads to.

    Raises:
        Misconfigured: the files cannot be read, or have expired.
        EvidenceBroken: they do not verify, or are older than those this process has seen.
    """
    now, state = datetime.now(UTC), _state_of(pinned.parent)
    seen, known = _opened.get(pinned, ((), None))
    if known is None or seen != state or now >= known.expires:
        known = _open(pinned, now, known)
        _opened[pinned] = (state, known)
    return known


def read(folder: Path) -> dict[str, bytes]:
    """Return the files of a trust directory that mean something, name to bytes.

    Raises:
        Misconfigured: it cannot be read.
    """
    try:
        paths = {path.name: path for path in folder.iterdir() if path.name in (TARGETS, TRUST) or ROOT_NAME.fullmatch(path.name)}
        files = {name: _read(paths[name]) for name in sorted(paths)}
        if TARGETS in files and (copy := folder / copy_name(files[TARGETS])).is_file():
            files[TRUST] = _read(copy)
    except OSError as error:
        raise _unreadable(folder, error) from None
    return files


def copy_name(targets: bytes) -> str:
    """Return the name under which the `trust.json` that this `targets.json` names is kept too.

    Raises:
        EvidenceBroken: at `trust root`; it is no `targets.json`.
    """
    return f"{named_trust(targets)}.{TRUST}"


def _open(pinned: Path, now: datetime, known: TrustRoot | None) -> TrustRoot:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _open_once(pinned, now, known)
        except EvidenceBroken as error:
            if error.place == "trust expiry":
                raise _expired(pinned.parent, error.detail) from None
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_BETWEEN_ATTEMPTS_SECONDS)  # somebody may be writing a new root and the targets it asks for
    raise AssertionError


def _open_once(pinned: Path, now: datetime, known: TrustRoot | None) -> TrustRoot:
    files = read(pinned.parent)
    if not ROOT_NAME.fullmatch(pinned.name) or pinned.name not in files:
        raise Misconfigured(f"AI_INFRA_TRUST_ROOT must name an N.root.json in its trust directory; {pinned} is none that is there.")
    return open_trust_root(
        files[pinned.name],
        files,
        now=now,
        least_root_version=known.root_version if known else 0,
        least_targets_version=known.targets_version if known else 0,
    )


def _expired(folder: Path, detail: str) -> Misconfigured:
    command = "renew" if detail.startswith(TARGETS) else "rotate-root"
    return Misconfigured(f"The trust root in {folder} counts no more: {detail} Renew it: aiinfra trust {command} {folder}")


def _state_of(folder: Path) -> _State:
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".json")]
    except OSError as error:
        raise _unreadable(folder, error) from None
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in files))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TRUST_BYTES + 1)


def _unreadable(folder: Path, error: OSError) -> Misconfigured:
    return Misconfigured(f"The trust directory {folder} cannot be read ({error.strerror}); make one with: aiinfra trust init")
