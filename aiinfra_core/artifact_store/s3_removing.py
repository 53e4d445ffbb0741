"""Remove the objects of an artifact from a bucket, one by one: some servers know no other way."""

from collections.abc import Iterator

from aiinfra_core import checksums
from aiinfra_core.artifact_store.s3 import S3Store
from aiinfra_core.domain.artifact import DigestKind


class _Emptying(S3Store):
    """A bucket objects are removed from; each key is below its prefix."""

    def remove(self, key: str) -> bool:
        """Remove the object at a key; return whether the bucket keeps it as an older version."""
        answer = self._call("delete_object", Key=self.prefix + key)
        return bool(answer.get("DeleteMarker"))

    def keys_of(self, key: str, kind: DigestKind) -> Iterator[str]:
        """Yield the keys of an artifact's objects that are there, a directory's sums last."""
        if kind is DigestKind.FILE:
            if self._exists(key):
                yield key
            return
        yield from (f"{key}/{name}" for name in self.files(key))
        if self.has_sums(key):
            yield key + checksums.SUMS_SUFFIX


def remove(store: S3Store, key: str, kind: DigestKind) -> tuple[int, bool]:
    """Remove an artifact; return how many objects it had, and whether the bucket keeps older versions of them.

    Raises:
        Unavailable: the store cannot be reached or refuses; what is left can be removed later.
    """
    emptying = _Emptying(store.bucket, store.prefix, store.endpoint_url)
    kept = [emptying.remove(one) for one in emptying.keys_of(key, kind)]
    return len(kept), any(kept)
