"""Artifacts on this machine's disk by what they are, each verified by this process before its path is handed over."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import Location, reading, streams
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, Misconfigured, Unavailable
from aiinfra_core.evidence.rollout_predicates import RoutedArm
from aiinfra_core.settings import Settings


def kept(cache: Path, arm: RoutedArm, places: Sequence[Location]) -> Path:
    """Return where an arm's bytes are below `cache`, read and verified just now; what was changed there is fetched anew.

    Raises:
        DigestMismatch: the store holds other bytes, or a file where a directory was promoted.
        BadInput: the artifact is below none of the places.
        ArtifactMissing, Unavailable: nothing is there, or the store cannot be reached; the disk is full.
    """
    path = cache / f"{arm.digest_kind}-{arm.checksum}" / arm.artifact_uri.rstrip("/").rpartition("/")[2]
    if path.exists() or path.is_symlink():
        if _is(path, arm):
            return path
        _remove(path)
    try:
        fetch(arm, places, path)
    except Conflict:  # another process was quicker
        if not _is(path, arm):
            raise
    return path


def fetch(arm: RoutedArm, places: Sequence[Location], path: Path) -> None:
    """Copy an arm's bytes from the store to a new path, which appears only once they proved to be those that were promoted.

    Raises:
        Conflict: something is at the path.
        DigestMismatch, BadInput, ArtifactMissing, Unavailable: as `kept`.
    """
    place = next((one for one in places if arm.artifact_uri.startswith(f"{one.root}/")), None)
    if place is None:
        known = ", ".join(one.root for one in places) or "none"
        raise BadInput(f"{arm.artifact_uri} is below no artifact root that may be read here; those are {known}.")
    artifact_store.fetch(place, arm.artifact_uri, arm.checksum, path)
    if path.is_dir() != (DigestKind(arm.digest_kind) is DigestKind.DIRECTORY):  # a directory's digest is that of a file that lists it
        _remove(path)
        raise DigestMismatch(f"{arm.artifact_uri} is not the {arm.digest_kind} that was promoted; look who changed it.")


def places_of(settings: Settings) -> list[Location]:
    """Return where artifacts may be read from, as the settings say.

    Raises:
        Misconfigured: no artifact root is named, or one cannot be used.
    """
    if settings.artifact_root is None:
        raise Misconfigured("AI_INFRA_ARTIFACT_ROOT must say where artifacts are read from, such as s3://models.")
    more = [artifact_store.location_at(settings, root, "AI_INFRA_ARTIFACT_ROOTS") for root in settings.artifact_roots]
    return [artifact_store.location(settings), *more]


def _is(path: Path, arm: RoutedArm) -> bool:
    try:
        return _measured(path) == (arm.digest_kind, arm.checksum)
    except (BadInput, OSError):
        return False


def _measured(path: Path) -> tuple[str, str]:
    if not streams.is_directory(path):
        with streams.of_file(path) as stream:
            return DigestKind.FILE, streams.pour(stream).checksum
    files = {}
    for name in streams.files_below(path):
        with streams.of_file(path / name) as stream:
            files[name] = streams.pour(stream)
    return DigestKind.DIRECTORY, reading.directory_artifact(path.as_uri(), files).checksum


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise Unavailable("artifact_store", f"{path} holds other bytes and cannot be removed ({error.strerror}); remove it.") from None
