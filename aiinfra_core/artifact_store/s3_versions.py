"""Small objects in a bucket that keeps versions: locked when they are put, and read as they were first put.

A version that is locked cannot be removed; whatever is put later under the same name, the oldest version is the one that counts. On a
bucket or server without versions the one there is counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from aiinfra_core.artifact_store.s3 import S3Store
from aiinfra_core.errors import Misconfigured, Unavailable

_MARKERS = {"NextKeyMarker": "KeyMarker", "NextVersionIdMarker": "VersionIdMarker"}
_NO_VERSIONS = {"NotImplemented", "MethodNotAllowed"}


@dataclass(frozen=True)
class VersionedS3Store(S3Store):
    """A bucket of whose objects the oldest version counts."""

    def put_locked(self, key: str, data: bytes, lock_days: int | None) -> None:
        """Store bytes under a key, for `lock_days` beyond anybody's reach.

        Raises:
            FileExistsError: something is at the key already.
            Misconfigured: the bucket has no Object Lock.
        """
        lock: dict[str, Any] = {}
        if lock_days is not None:
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=lock_days)}
        try:
            self._call("put_object", Key=self.prefix + key, Body=data, IfNoneMatch="*", **lock)
        except Unavailable as error:
            if lock and _answer(error) in ("InvalidRequest", "NotImplemented"):
                raise self._without_lock() from error
            raise

    def refuse_unlocked(self, key: str) -> None:
        """Check that what was first put under a key is locked; some servers take the request, even repeat it, and lock nothing.

        Raises:
            Misconfigured: it is not.
        """
        first = self._first(key)
        if not first or self._head(key, first).get("ObjectLockMode") != "COMPLIANCE":
            raise self._without_lock()

    def oldest(self, key: str) -> bytes | None:
        """Return the bytes first put under a key, though they were overwritten or deleted since; None when there never were any."""
        first = self._first(key)
        if first is None:
            return None
        size = self._head(key, first)["ContentLength"]
        return self._range(key, 0, size, **first) if size else b""

    def names(self, folder: str, after: str) -> Iterator[str]:
        """Yield the names directly below a folder (ending in `/`) that sort after one, byte-sorted, the deleted ones too."""
        place, last = self.prefix + folder, after
        for version in self._versions(place, place + after if after else None):
            name = str(version["Key"]).removeprefix(place)
            if "/" not in name and name > last:
                yield name
                last = name

    def _versions(self, prefix: str, after: str | None) -> Iterator[dict[str, Any]]:
        more = {"KeyMarker": after} if after else {}
        try:
            for page in self._pages("list_object_versions", _MARKERS, Prefix=prefix, **more):
                yield from page.get("Versions", ())
        except Unavailable as error:
            if _answer(error) not in _NO_VERSIONS:
                raise
            for page in self._pages("list_objects_v2", {"NextContinuationToken": "ContinuationToken"}, Prefix=prefix):
                yield from page.get("Contents", ())

    def _first(self, key: str) -> dict[str, str] | None:
        name = self.prefix + key
        found = [version.get("VersionId", "null") for version in self._versions(name, None) if version["Key"] == name]
        if not found:
            return None
        return {} if found == ["null"] else {"VersionId": found[-1]}  # listed from the newest to the oldest

    def _head(self, key: str, version: dict[str, str]) -> dict[str, Any]:
        return self._call("head_object", Key=self.prefix + key, **version)

    def _without_lock(self) -> Misconfigured:
        say = "does not lock objects, as AI_INFRA_CHECKPOINT_LOCK_DAYS asks; use one made with Object Lock"
        return Misconfigured(f"The S3 bucket {self.bucket} {say}.")


def _answer(error: Unavailable) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if cause else ""
