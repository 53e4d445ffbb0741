"""Artifacts in an S3 bucket, through s3fs: multipart where large, create-only where the server knows `If-None-Match`.

A directory is its files below the key and, written last, its sums beside it: without them it is not there yet. What the
bytes mean does not live here.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import s3fs
from aiohttp import ClientError as BrokenBody
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from aiinfra_core import checksums
from aiinfra_core.artifact_store import streams
from aiinfra_core.artifact_store.streams import Hashed, Stream
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, Conflict, Unavailable

logger = logging.getLogger(__name__)

PART_BYTES = 8 * 2**20
MOST_PARTS = 10_000
IDLE_UPLOAD_SECONDS = 60.0
"""A multipart upload that received nothing for so long was left by a writer that died; the next writer of its key ends it."""

_CONNECTION = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "response_checksum_validation": "when_required",  # changed bytes are ours to report, by SHA-256, not a transport's error
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
_TRANSPORT_ERRORS = (OSError, BotoCoreError, HTTPClientError, ResponseParserError, BrokenBody)
_NOT_ALLOWED = {"403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


@dataclass(frozen=True)
class S3Store:
    """A bucket and the prefix of every key in it (empty, or ending in `/`); keys are checked by the caller."""

    bucket: str
    prefix: str
    endpoint_url: str | None

    def kind(self, key: str) -> DigestKind | None:
        """Tell what is at a key, if anything; a directory without its sums is not there."""
        if self._exists(key):
            return DigestKind.FILE
        return DigestKind.DIRECTORY if self.has_sums(key) else None

    def has_sums(self, key: str) -> bool:
        """Tell whether a finished directory is at a key."""
        name = self.prefix + key + checksums.SUMS_SUFFIX
        listed = self._call("list_objects_v2", Prefix=name, MaxKeys=1)  # unlike a HEAD, says so when there is no such bucket
        return any(item["Key"] == name for item in listed.get("Contents", ()))

    def files(self, key: str) -> list[str]:
        """Return the relative paths of the files of a directory, byte-sorted."""
        folder = f"{self.prefix}{key}/"
        pages = self._pages("list_objects_v2", {"NextContinuationToken": "ContinuationToken"}, Prefix=folder)
        names = [item["Key"].removeprefix(folder) for page in pages for item in page.get("Contents", ())]
        return sorted(map(checksums.checked_path, names), key=str.encode)

    def children(self, folder: str) -> Iterator[str]:
        """Yield the names directly below a folder (empty, or ending in `/`), in no order; those of folders end in `/`."""
        place = self.prefix + folder
        for page in self._pages("list_objects_v2", {"NextContinuationToken": "ContinuationToken"}, Prefix=place, Delimiter="/"):
            yield from (item["Prefix"].removeprefix(place) for item in page.get("CommonPrefixes", ()))
            yield from (item["Key"].removeprefix(place) for item in page.get("Contents", ()))

    @contextmanager
    def opened(self, key: str) -> Iterator[Stream]:
        """Open the object at a key, or one inside a directory, for reading."""
        size = self._call("head_object", Key=self.prefix + key)["ContentLength"]
        position = 0

        def fill(block: memoryview) -> int:
            nonlocal position
            end = min(position + len(block), size)
            data = self._range(key, position, end) if position < end else b""
            block[: len(data)] = data
            position += len(data)
            return len(data)

        yield Stream(fill, size, PART_BYTES)

    def put_file(self, key: str, stream: Stream) -> Hashed:
        """Store a stream under a key; what fails half-way is taken back.

        Raises:
            FileExistsError: something is at the key already.
        """
        if stream.size < PART_BYTES:
            return self._put_whole(key, stream)
        self.end_idle_uploads(key)
        return self._put_in_parts(key, stream)

    def put_directory(self, key: str, source: Path, names: list[str]) -> dict[str, Hashed]:
        """Store the named files of a directory under a key, then its sums, which make it visible.

        Files that an interrupted writer left are kept where they are the same.

        Raises:
            Conflict: files that are not the same, or not in the source, are below the key.
            FileExistsError: a directory is at the key already.
        """
        self.end_idle_uploads(key)
        present = set(self.files(key))
        if extra := sorted(present - set(names)):
            raise Conflict(f"s3://{self.bucket}/{self.prefix}{key}/ holds {extra[0]!r}, which is not in {source}; use another key.")
        hashed = {name: self._put_member(f"{key}/{name}", source / name, name in present) for name in names}
        sums = checksums.sums_text({name: item.checksum for name, item in hashed.items()})
        self._put_whole(key + checksums.SUMS_SUFFIX, streams.of_bytes(sums))
        return hashed

    def end_idle_uploads(self, key: str) -> None:
        """Abort multipart uploads of this key, or below it, that dead writers left, where the server can list them."""
        try:
            markers = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
            for page in self._pages("list_multipart_uploads", markers, Prefix=self.prefix + key):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for upload in page.get("Uploads", ()):
                    if self._owns(key, upload) and now - self._last_activity(upload) > timedelta(seconds=IDLE_UPLOAD_SECONDS):
                        self._abort(upload["Key"], upload["UploadId"])
        except (Unavailable, FileNotFoundError) as error:
            logger.info("Unfinished uploads of %s could not be looked for: %s", key, error)

    def _put_whole(self, key: str, stream: Stream) -> Hashed:
        data = bytearray()
        hashed = streams.pour(stream, data.extend)
        self._call("put_object", Key=self.prefix + key, Body=bytes(data), IfNoneMatch="*")
        return hashed

    def _put_in_parts(self, key: str, stream: Stream) -> Hashed:
        name = self.prefix + key
        parts: list[dict[str, Any]] = []
        upload = self._call("create_multipart_upload", Key=name)["UploadId"]

        def send(block: memoryview) -> None:
            number = len(parts) + 1
            answer = self._call("upload_part", Key=name, UploadId=upload, PartNumber=number, Body=bytes(block))
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})

        try:
            hashed = streams.pour(replace(stream, block_bytes=max(PART_BYTES, stream.size // (MOST_PARTS - 1) + 1)), send)
            self._refuse_existing(key)
            self._call("complete_multipart_upload", Key=name, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except FileNotFoundError as error:
            self._refuse_existing(key)
            raise Unavailable(
                "artifact_store", f"The upload of {name} to bucket {self.bucket} was ended by someone else; try again."
            ) from error
        except BaseException:
            self._abort(name, upload)
            raise
        return hashed

    def _put_member(self, key: str, source: Path, present: bool) -> Hashed:
        if not present:
            try:
                with streams.of_source(source) as stream:
                    return self._put_whole(key, stream) if stream.size < PART_BYTES else self._put_in_parts(key, stream)
            except FileExistsError:
                logger.info("Someone else stored %s meanwhile", key)
        with streams.of_source(source) as stream, self.opened(key) as stored:
            ours, theirs = streams.pour(stream), streams.pour(stored)
        if ours != theirs:
            place = f"s3://{self.bucket}/{self.prefix}{key}"
            raise Conflict(f"{place} already holds {theirs.checksum}, not {ours.checksum}; an artifact is never overwritten.")
        return ours

    # Servers that do not know If-None-Match overwrite silently; looking once more leaves them the smallest gap.
    def _refuse_existing(self, key: str) -> None:
        if self._exists(key):
            raise FileExistsError(key)

    def _exists(self, key: str) -> bool:
        try:
            self._call("head_object", Key=self.prefix + key)
        except FileNotFoundError:
            return False
        return True

    @retry(retry=retry_if_exception_type(BrokenBody), stop=stop_after_attempt(3), reraise=True)
    def _body(self, key: str, start: int, end: int, **version: str) -> bytes:
        answer = self._call("get_object", Key=self.prefix + key, Range=f"bytes={start}-{end - 1}", **version)
        data: bytes = sync(_filesystem(self.endpoint_url, os.getpid()).loop, answer["Body"].read)
        return data

    def _range(self, key: str, start: int, end: int, **version: str) -> bytes:
        try:
            return self._body(key, start, end, **version)
        except FileNotFoundError:
            raise
        except _TRANSPORT_ERRORS as error:
            raise self._unavailable(error) from error

    def _owns(self, key: str, upload: dict[str, Any]) -> bool:
        return bool(upload["Key"] == self.prefix + key or upload["Key"].startswith(f"{self.prefix}{key}/"))

    def _last_activity(self, upload: dict[str, Any]) -> datetime:
        pages = self._pages("list_parts", {"NextPartNumberMarker": "PartNumberMarker"}, Key=upload["Key"], UploadId=upload["UploadId"])
        times = [part["LastModified"] for page in pages for part in page.get("Parts", ())]
        newest: datetime = max([upload["Initiated"], *times])
        return newest

    def _abort(self, name: str, upload: str) -> None:
        try:
            self._call("abort_multipart_upload", Key=name, UploadId=upload)
        except (Unavailable, FileNotFoundError) as error:
            logger.warning("The unfinished upload of %s stays in bucket %s until the next try: %s", name, self.bucket, error)

    def _pages(self, method: str, markers: dict[str, str], **arguments: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._call(method, **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments |= {request: page[answer] for answer, request in markers.items()}

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = _filesystem(self.endpoint_url, os.getpid()).call_s3(method, Bucket=self.bucket, **arguments)
        except _TRANSPORT_ERRORS as error:
            code = _code(error)
            if code == "PreconditionFailed":
                raise FileExistsError(arguments["Key"]) from error
            if code == "KeyTooLongError":
                raise BadInput(f"A key in bucket {self.bucket} may have 1,024 bytes; shorten the file names.") from error
            if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
                raise
            raise self._unavailable(error) from error
        return answer

    def _unavailable(self, error: BaseException) -> Unavailable:
        code = _code(error)
        if code == "NoSuchBucket":
            say = "does not exist; create it or correct AI_INFRA_ARTIFACT_ROOT"
        elif code in _NOT_ALLOWED or isinstance(error, PermissionError):
            say = f"refused access ({code}); check that the AWS credentials in use may list, read and write it"
        elif code == "NoCredentialsError":
            say = "needs credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with an instance role"
        else:
            say = f"did not answer properly ({code}); check AI_INFRA_S3_ENDPOINT_URL and try again"
        return Unavailable("artifact_store", f"The S3 bucket {self.bucket} {say}.")


# Making a client costs 0.1 s and s3fs keeps one per thread; this keeps one per endpoint. A client does not survive a fork.
@lru_cache(maxsize=8)
def _filesystem(endpoint_url: str | None, _process: int) -> Any:
    files = s3fs.S3FileSystem(endpoint_url=endpoint_url, config_kwargs=_CONNECTION, use_listings_cache=False, skip_instance_cache=True)
    files.retries = 1  # botocore does the retrying; both together would take minutes to say no
    return files


def _code(error: BaseException) -> str:
    cause = error if isinstance(error, ClientError) else error.__cause__
    if isinstance(cause, ClientError):
        return str(cause.response.get("Error", {}).get("Code") or type(error).__name__)
    return type(error).__name__
