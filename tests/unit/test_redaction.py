"""What the log hides by its looks: wherever it stands, and in a time that only grows with the text."""

import time

import pytest

from aiinfra_core.http_api.redaction import redactor
from aiinfra_core.settings import Settings


def test_a_token_is_hidden_wherever_in_a_word_it_begins() -> None:
    redacted = redactor(Settings())
    parts = ("eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiJhZGEifQ", "c2lnbmF0dXJl")
    for before in ("", "/", "session-", "-eyJ-", "eyJ", "my_", "a.b-", "--", "eyJ."):
        told = redacted(f"GET {before}{'.'.join(parts)}/x")
        assert not any(part in told for part in parts), before


# Of what the patterns look for: what begins a secret, what goes on in it, what ends it, and names with what follows them.
_BEGUN = ("", "/", "eyJaaaaaaaa.", "://", "://a:", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "bearer ", "token", 'token="', "token='")
_PARTS = (
    *("eyJ", "-eyJ-", "eyJ_", "eyJaaaaaaaa", "-eyJaaaaaaaa-", "eyJaaaaaaaa.", "eyJaaaaaaaa.b.", "a.eyJaaaaaaaa.-", "a", "a.", "-", "_"),
    *("://", "://a", "://a:", "://a:b", "://a:b@", ":", "a:", "@", "-----BEGIN ", "-----BEGIN A", "-----BEGIN PRIVATE KEY-----"),
    *("PRIVATE KEY-----", "PRIVATE ", "-----END ", "-----END A", "A ", "bearer", "bearer ", "basic  ", " ", "\t", "\n", "token", "token "),
    *(
        "token=",
        "token='",
        'token="',
        "token\\",
        'token="\\',
        "secret",
        "secret_access_",
        "api-",
        "api_key",
        "authorization:b",
        "idempotency-",
    ),
    *("\\", '\\"', "\\'", '"', "'", "=", ",", "=b", "&"),
)


@pytest.mark.parametrize("begun", _BEGUN)
def test_nobody_keeps_the_log_busy_with_what_almost_is_a_secret(begun: str) -> None:
    redacted = redactor(Settings())

    def seconds(part: str, size: int) -> float:
        text = (begun + part * (size // len(part)))[:size] + " token"
        started = time.thread_time()
        redacted(text)
        return time.thread_time() - started

    slow = [part for part in _PARTS if seconds(part, 65_536) > 24 * seconds(part, 8_192) + 0.1]  # 8 times as much; squared it is 64
    assert slow == []
