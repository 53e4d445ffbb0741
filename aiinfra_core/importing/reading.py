"""What a record of the replaced service means: field by field, forgiving how it is written, never guessing what is not there."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from aiinfra_core import canonical_json, checksums
from aiinfra_core.errors import BadInput

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SHA256 = re.compile(r"(?:sha-?256:)?([0-9a-f]{64})", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,16}(\.[0-9]+)?")
_MILLISECONDS_FROM = 10**11  # as seconds, the year 5138
_MAX_WORDS = 300
_DEFAULT = "default"


def identity(record: dict[str, Any]) -> str:
    """Return the id of a record.

    Raises:
        BadInput: it has none that can be kept.
    """
    found = text(record.get("id"))
    if found is None:
        raise BadInput("A record has no id of printable letters; nothing can be said of it.")
    return found


def identity_of_promotion(record: dict[str, Any]) -> str:
    """Return the id of a promotion; one without is named by its content."""
    return text(record.get("id")) or f"content:{checksums.sha256_hex(document(record).encode())}"


def text(value: Any) -> str | None:
    """Return an id as text, whether it came as text or as a number; None where there is none."""
    found = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return found if _ID.fullmatch(found) else None


def document(record: dict[str, Any]) -> str:
    """Return a record as it is kept: all it holds, as canonical JSON where its numbers have a canonical form."""
    try:
        return canonical_json.dumps(record).decode()
    except BadInput:
        return json.dumps(record, sort_keys=True, separators=(",", ":"))


def time(value: Any) -> datetime | None:
    """Return a time: RFC 3339 with any number of digits, with a space, without a zone (then UTC), or seconds or milliseconds since 1970."""
    written = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    try:
        if _NUMBER.fullmatch(written):
            number = float(written)
            return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)
        moment = datetime.fromisoformat(written.strip().replace(" UTC", "Z"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def checksum(value: Any) -> str | None:
    """Return a SHA-256 in lower-case hex, whether or not it came with the name of its kind; None where it is none."""
    found = _SHA256.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[1].lower() if found else None


def metadata(record: dict[str, Any]) -> dict[str, Any]:
    """Return what was kept with an artifact, none where there is none."""
    found = record.get("metadata")
    return found if isinstance(found, dict) else {}


def model_of(record: dict[str, Any], job: dict[str, Any] | None, asked: str | None) -> str:
    """Return the model an artifact is a version of: what was asked for, else what it or its job says, else its code's last part."""
    told = [asked, record.get("model"), metadata(record).get("model"), (job or {}).get("model"), _of_code((job or {}).get("codeRef"))]
    return next((name for name in map(model_name, told) if name), _DEFAULT)


def words(said: str) -> str:
    """Return what became of a record as it is kept: one printable line, not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(said.split()))[:_MAX_WORDS]


def model_name(told: Any) -> str | None:
    """Return what was told as a model's name, made to fit; None where nothing is left of it."""
    if not isinstance(told, str):
        return None
    return re.sub("[^a-z0-9._-]+", "-", told.lower()).lstrip("._-")[:128] or None


def _of_code(code_ref: Any) -> str | None:
    if not isinstance(code_ref, str):
        return None
    return re.split("[@#]", code_ref.rstrip("/").rpartition("/")[2])[0].removesuffix(".git")
