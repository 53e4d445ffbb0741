"""Where a dataset's bytes come from: a file, the checked-out repository, HTTP or S3, always as a stream.

Digests, the cache and what is kept are in `datasets`. The libraries for HTTP and S3 are imported only when such a source is used.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.errors import BadInput, Misconfigured, NotFound, Unavailable

CHUNK_BYTES = 1 << 20
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
_MISSING = (404, 410)
_PASSING = (408, 425, 429)


def stream(ref: DatasetRef, *, code: Path | None, s3_endpoint_url: str | None) -> Generator[bytes, None, None]:
    """Return the dataset's bytes in chunks; close the generator to let go of the source.

    Raises:
        BadInput: of an unknown kind, outside the repository, or not open to this user.
        NotFound: nothing is there.
        Unavailable: `dataset`, at the start or while reading.
    """
    uri = _split(ref)
    if uri.scheme in ("http", "https"):
        return _from_http(ref)
    if uri.scheme == "s3":
        return _from_s3(ref, s3_endpoint_url)
    if uri.scheme == "file" and uri.netloc in ("", "localhost"):
        return _from_file(ref, Path(unquote(uri.path)))
    if not uri.scheme:
        return _from_file(ref, _local_path(ref, code))
    raise BadInput(f"Dataset {ref.name} has a uri of an unknown kind; use a path, file:///, https://, http:// or s3://.")


def _split(ref: DatasetRef) -> SplitResult:
    if "://" not in ref.uri:
        return SplitResult("", "", ref.uri, "", "")
    try:
        return urlsplit(ref.uri)
    except ValueError as error:
        raise BadInput(f"The uri of dataset {ref.name} cannot be read; check it.") from error


def _local_path(ref: DatasetRef, code: Path | None) -> Path:
    path = Path(ref.uri)
    if path.is_absolute():
        return path
    if code is None:
        raise BadInput(f"Dataset {ref.name} has a relative uri but no code is checked out; give an absolute path or a URL.")
    inside = (code / path).resolve()
    if not inside.is_relative_to(code.resolve()):
        raise BadInput(f"The uri of dataset {ref.name} leads out of the code repository; give an absolute path or a URL.")
    return inside


def _from_file(ref: DatasetRef, path: Path) -> Generator[bytes, None, None]:
    if not path.exists():
        raise NotFound(f"Dataset {ref.name} is not at its uri; check the path.")
    if not path.is_file():
        raise BadInput(f"The uri of dataset {ref.name} names no ordinary file; name one file.")
    try:
        with path.open("rb") as file:
            yield from _chunks(file)
    except PermissionError as error:
        raise BadInput(f"Dataset {ref.name} may not be read by this user; change its permissions.") from error


def _from_http(ref: DatasetRef) -> Generator[bytes, None, None]:
    import httpx  # imported late: most trainings read no dataset over HTTP

    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    try:
        # Asked for unencoded and read raw: the digest is of the bytes as they are kept at the source.
        with httpx.stream("GET", ref.uri, timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as answer:
            _check_status(ref, answer.status_code)
            yield from answer.iter_raw()
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise BadInput(f"The uri of dataset {ref.name} leads nowhere; check it.") from error
    except httpx.HTTPError as error:
        raise Unavailable("dataset", f"Dataset {ref.name} could not be fetched ({type(error).__name__}); try again later.") from error


def _check_status(ref: DatasetRef, status: int) -> None:
    if status in _MISSING:
        raise NotFound(f"Dataset {ref.name} is not at its uri (HTTP {status}); check the address.")
    if status >= 500 or status in _PASSING:
        raise Unavailable("dataset", f"The server of dataset {ref.name} answered HTTP {status}; try again later.")
    if status != 200:
        raise BadInput(f"The server of dataset {ref.name} answered HTTP {status}; check the address and who may read it.")


def _from_s3(ref: DatasetRef, endpoint_url: str | None) -> Generator[bytes, None, None]:
    import botocore.exceptions  # imported late: takes half a second
    import s3fs

    try:
        store: Any = s3fs.S3FileSystem(
            endpoint_url=endpoint_url,
            skip_instance_cache=True,
            config_kwargs={"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENCE_SECONDS},
        )
        with closing(store.open(ref.uri, "rb", block_size=8 * CHUNK_BYTES, cache_type="readahead")) as file:
            yield from _chunks(file)
    except FileNotFoundError as error:
        raise NotFound(f"Dataset {ref.name} is not at its uri; check bucket and key.") from error
    except PermissionError as error:
        raise BadInput(f"Dataset {ref.name} is not open to these S3 credentials; change the bucket's policy.") from error
    except botocore.exceptions.NoCredentialsError as error:
        raise Misconfigured("No S3 credentials are configured; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from error
    except (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise Unavailable("dataset", f"Dataset {ref.name} could not be fetched ({type(error).__name__}); try again later.") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
