"""What must never stand in a log, taken out of a text: the secrets of the settings, and whatever looks like a secret of somebody else."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

REDACTED = "[redacted]"
_LEAST = 4  # shorter ones would take ordinary words with them
_NOT_SETTINGS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "BAO_TOKEN", "PREFECT_API_KEY", "VAULT_TOKEN")
_SECRET_ADDRESSES = ("audit_sinks",)  # the path of a webhook is often the whole secret
# What is a secret wherever it stands ...
_BY_ITS_FORM = re.compile(
    r"""
      -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*-----|\Z)
    | (?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*?eyJ[A-Za-z0-9_-]{8})  # a token, with the word it ends, so that
      [A-Za-z0-9_-]++\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*           # no word is read once for each "eyJ" in it
    | (?<=://)[^\s/@:"']*:[^\s/"']*(?=@)                        # name and password in an address
    | \b(?:bearer|basic)[ ]+[^\s"',;&)}\]]+                     # of an Authorization header
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# ... and what is one by the name before it: of a header, a member of JSON, a parameter, a variable.
_BY_ITS_NAME = re.compile(
    r"""(?P<name>(?:authorization|cookie|idempotency-key|password|passwd|secret|token|api[_-]?key|key_b64|secret_access_key)
          \\*["']?\s*[,:=]\s*b?)
        (?: \\*"(?:[^"\\]|\\.)* | \\*'(?:[^'\\]|\\.)* | [^\s"',;&)}\]]+ )
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# Every match holds one of these; most texts hold none, and to find that out takes a microsecond.
_HINTS = ("bearer", "basic ", "author", "cookie", "key", "passw", "secret", "token", "://", "eyj")


def redactor(settings: BaseModel) -> Callable[[str], str]:
    """Return a function that takes secrets out of a text: those of these settings wherever they stand, and others by their looks."""
    known = sorted(_forms(settings), key=len, reverse=True)
    ours = re.compile("|".join(map(re.escape, known))) if known else None

    def redacted(text: str) -> str:
        if ours is not None:
            text = ours.sub(REDACTED, text)
        lowered = text.lower()
        for hint in _HINTS:
            if hint in lowered:
                return _BY_ITS_NAME.sub(rf"\g<name>{REDACTED}", _BY_ITS_FORM.sub(REDACTED, text))
        return text

    return redacted


def _forms(settings: BaseModel) -> set[str]:
    secrets = {os.environ[name] for name in _NOT_SETTINGS if name in os.environ}
    for name in type(settings).model_fields:
        for text, is_secret in _texts(getattr(settings, name)):
            secrets |= {text} if name in _SECRET_ADDRESSES else _within(text, is_secret)
    return {form for secret in secrets for form in (secret, quote(secret, safe=""), unquote(secret)) if len(form) >= _LEAST}


def _texts(value: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value(), True
    elif isinstance(value, str):
        yield value, False
    elif isinstance(value, tuple):
        for part in value:
            yield from _texts(part)


# An address is told of in messages, its password is not; any other secret is one as a whole.
def _within(text: str, is_secret: bool) -> set[str]:
    if "://" not in text:
        return {text} if is_secret else set()
    try:
        password = urlsplit(text).password
    except ValueError:
        return {text}
    return {password} if password else set()
