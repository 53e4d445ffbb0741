"""Where artifacts are kept: streamed in with one pass of hashing, never overwritten, verified whenever read.

An artifact is a file or a directory of files under a key below the configured root, which is a local directory
(`file:///dir`) or an S3 bucket (`s3://bucket/prefix`). A directory `NAME` has its sums beside it, never inside, so that the
digest over its files is exactly what Go's dirhash gives; `cd NAME && sha256sum --strict -c ../NAME.SHA256SUMS` checks it, and
the SHA-256 of `NAME.SHA256SUMS` is the directory's checksum. A directory without its sums is unfinished and is not there.

`local` and `s3` hold the bytes, `streams` hashes them on their way, `reading` judges what is there, `recorded` lets so many be
read at a time, `objects` keeps small records of ours under names of ours. Which digest belongs to which model does not live here.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiinfra_core import checksums
from aiinfra_core.artifact_store import local, reading, streams
from aiinfra_core.artifact_store.streams import Hashed
from aiinfra_core.domain.artifact import DigestKind, StoredArtifact
from aiinfra_core.errors import ArtifactMissing, BadInput, Conflict, DigestMismatch, Misconfigured, Unavailable
from aiinfra_core.settings import Settings

SMALL_BYTES = 16 * 2**20
_PART = r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,199}"
_KEY = re.compile(rf"{_PART}(/{_PART})*", re.ASCII)
_S3_ROOT = re.compile(rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/{_PART})*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Location:
    """The root of every artifact's URI, without a slash at its end, and the S3 endpoint if it is not AWS's own."""

    root: str
    endpoint_url: str | None


def location(settings: Settings) -> Location:
    """Return where artifacts are kept.

    Raises:
        Misconfigured: the root is missing or is neither `file:///dir` nor `s3://bucket[/prefix]`, or the endpoint is no URL.
    """
    return location_at(settings, settings.artifact_root or "", "AI_INFRA_ARTIFACT_ROOT")


def location_at(settings: Settings, root: str, named: str) -> Location:
    """Return another place of the same kinds, on the same S3 endpoint; `named` is the setting or option it was given by.

    Raises:
        Misconfigured: as `location`.
    """
    root, endpoint = root.rstrip("/"), settings.s3_endpoint_url
    if not (_S3_ROOT.fullmatch(root) or root.startswith("file:///")) or set(root) & set("?#"):
        raise Misconfigured(f"{named} must be file:///directory or s3://bucket/prefix.")
    if endpoint is not None and (urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint):
        raise Misconfigured("AI_INFRA_S3_ENDPOINT_URL must be an http or https URL without credentials in it.")
    return Location(root, endpoint)


def location_of(settings: Settings, uri: str) -> Location:
    """Return the place an artifact that exists is kept at: the artifact root, or one of the others that may be read.

    Raises:
        BadInput: the URI is below none of them; the message names them.
        Misconfigured: as `location`, of any of them.
    """
    places = [location(settings), *(location_at(settings, root, "AI_INFRA_ARTIFACT_ROOTS") for root in settings.artifact_roots)]
    for place in places:
        if uri.startswith(place.root + "/"):
            return place
    raise BadInput(f"{uri!r} is not below an artifact root; those are {', '.join(place.root for place in places)}.")


def put(location: Location, source: Path, key: str) -> StoredArtifact:
    """Store a file or a directory of files under a key, hashing the bytes on their way; repeatable, never overwriting.

    Memory is flat whatever the size. It appears under its key whole or not at all.

    Raises:
        BadInput: the source is missing, empty, changes while it is read, or holds links, special files or odd names.
        Conflict: something else is at the key; it is left as it is.
        Unavailable: the store cannot be reached, refuses, or is full.
    """
    uri, store = f"{location.root}/{checked_key(key)}", store_of(location)
    with reported(location):
        names = _names(source)
        _refuse_nesting(store, key)
        if store.kind(key) is None:
            try:
                return _write(store, uri, key, source, names)
            except FileExistsError:
                pass  # another writer was first: compare with theirs
        return _same(reading.measure(store, uri, key), _measure_source(uri, source, names))


def put_bytes(location: Location, data: bytes, prefix: str, suffix: str) -> str:
    """Store a small object as `<prefix>/<sha256><suffix>` and return its URI; repeatable.

    Raises:
        DigestMismatch: what is at that name was changed.
        Unavailable: the store cannot be reached, refuses, or is full.
    """
    checksum = checksums.sha256_hex(data)
    key = checked_key(f"{prefix}/{checksum}{suffix}")
    uri, store = f"{location.root}/{key}", store_of(location)
    with reported(location):
        if store.kind(key) is None:
            try:
                store.put_file(key, streams.of_bytes(data))
            except FileExistsError:
                pass
            else:
                return uri
        _refuse_other(uri, reading.measure(store, uri, key).checksum, checksum)
    return uri


def measure(location: Location, uri: str, look: reading.Look | None = None) -> StoredArtifact:
    """Read everything at a URI, showing it to `look` on the way, and return its kind, digest and size.

    Raises:
        BadInput: the URI is not below the location's root, or what is there is no artifact.
        ArtifactMissing: nothing is there, or an unfinished directory.
        DigestMismatch: a directory's files are not those that its sums list.
        Unavailable: the store cannot be reached or refuses.
    """
    key = _key_of(location, uri)
    with reported(location):
        return reading.measure(store_of(location), uri, key, look)


def verify(location: Location, uri: str, checksum: str, look: reading.Look | None = None) -> StoredArtifact:
    """Read everything at a URI and return it only if it has this digest.

    Raises:
        DigestMismatch: it has another; both are named.
        BadInput, ArtifactMissing, Unavailable: as `measure`.
    """
    _checked_digest(checksum)
    stored = measure(location, uri, look)
    _refuse_other(uri, stored.checksum, checksum)
    return stored


def fetch(location: Location, uri: str, checksum: str, destination: Path) -> None:
    """Copy an artifact to a local path, read-only; the path appears only once the bytes proved to have this digest.

    Raises:
        Conflict: the destination exists.
        DigestMismatch, BadInput, ArtifactMissing, Unavailable: as `verify`.
    """
    key, store, final = _key_of(location, uri), store_of(location), destination.absolute()
    _checked_digest(checksum)
    with reported(location):
        kind = reading.kind_at(store, uri, key)
        try:
            with local.building(final) as partial:
                _refuse_other(uri, reading.copy(store, uri, key, kind, partial / "content"), checksum)
                local.publish(partial, final)
        except FileExistsError as error:
            raise Conflict(f"{destination} exists already; name a path that does not.") from error


def read_bytes(location: Location, uri: str, checksum: str, limit: int = SMALL_BYTES) -> bytes:
    """Return the bytes of a stored file of at most `limit` bytes, verified.

    Raises:
        BadInput: it is larger, or a directory.
        DigestMismatch, ArtifactMissing, Unavailable: as `verify`.
    """
    key, store = _key_of(location, uri), store_of(location)
    _checked_digest(checksum)
    with reported(location):
        if reading.kind_at(store, uri, key) is not DigestKind.FILE:
            raise BadInput(f"{uri} is a directory; fetch it instead.")
        data = reading.read(store, uri, key, limit)
    _refuse_other(uri, checksums.sha256_hex(data), checksum)
    return data


def check(location: Location) -> None:
    """See that a place answers, and a local one can be written to.

    Raises:
        Unavailable: it does not.
    """
    store = store_of(location)
    with reported(location):
        store.has_sums("readiness")
        if isinstance(store, local.LocalStore):
            store.check()


def store_of(location: Location) -> reading.Store:
    """Return what holds the bytes of a location; for the rooms of this package."""
    if location.root.startswith("file://"):
        return local.LocalStore(Path(unquote(location.root.removeprefix("file://"))))
    from aiinfra_core.artifact_store.s3 import S3Store  # s3fs takes a second to import: only where it is used

    bucket, _, prefix = location.root.removeprefix("s3://").partition("/")
    return S3Store(bucket, f"{prefix}/" if prefix else "", location.endpoint_url)


def checked_key(key: str) -> str:
    """Return the key if it may name something in a store.

    Raises:
        BadInput: it may not.
    """
    if not _KEY.fullmatch(key) or len(key) > 900 or key.endswith(checksums.SUMS_SUFFIX):
        raise BadInput(f"{key!r} cannot name an artifact; use letters, digits and ._=+@- in parts divided by a slash.")
    return key


def _key_of(location: Location, uri: str) -> str:
    if not uri.startswith(location.root + "/"):
        raise BadInput(f"{uri!r} is not below the artifact root {location.root}; store the artifact there first.")
    return checked_key(uri.removeprefix(location.root + "/"))


def _checked_digest(checksum: str) -> None:
    if not _DIGEST.fullmatch(checksum):
        raise BadInput("A checksum is 64 lower-case hex digits of SHA-256.")


def _names(source: Path) -> list[str] | None:
    with streams.source_errors(source):
        return streams.files_below(source) if streams.is_directory(source) else None


def _write(store: reading.Store, uri: str, key: str, source: Path, names: list[str] | None) -> StoredArtifact:
    if names is not None:
        return reading.directory_artifact(uri, store.put_directory(key, source, names))
    with streams.of_source(source) as stream:
        return reading.file_artifact(uri, store.put_file(key, stream))


def _measure_source(uri: str, source: Path, names: list[str] | None) -> StoredArtifact:
    if names is not None:
        return reading.directory_artifact(uri, {name: _hash_source(source / name) for name in names})
    return reading.file_artifact(uri, _hash_source(source))


def _hash_source(path: Path) -> Hashed:
    with streams.of_source(path) as stream:
        return streams.pour(stream)


def _refuse_nesting(store: reading.Store, key: str) -> None:
    parts = key.split("/")
    for above in ("/".join(parts[:count]) for count in range(1, len(parts))):
        if store.has_sums(above):
            raise Conflict(f"{above!r} is an artifact itself, so nothing may be stored below it; use another key.")


def _same(stored: StoredArtifact, offered: StoredArtifact) -> StoredArtifact:
    if stored != offered:
        raise Conflict(
            f"{stored.uri} already holds {stored.checksum}, not {offered.checksum}; an artifact is never overwritten: use another key."
        )
    return stored


def _refuse_other(uri: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise DigestMismatch(
            f"{uri} holds bytes with the digest {found}, not {wanted}; they are not the ones that were stored under that name."
        )


@contextmanager
def reported(location: Location) -> Iterator[None]:
    """Turn what the operating system says about a location into the product's errors; for the rooms of this package."""
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactMissing(f"Something below {location.root} went away while it was read; look what is there and try again.") from error
    except NotADirectoryError as error:
        raise Conflict(f"A file is where a directory is needed below {location.root}; use another key.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadInput("A file name is too long for the artifact store; shorten it.") from error
        reason = "is full; free some space" if error.errno in _DISK_FULL else f"cannot be used ({error.strerror}); check it"
        raise Unavailable("artifact_store", f"The artifact store: {error.filename or location.root} {reason} and try again.") from error
