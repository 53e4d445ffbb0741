"""How a request failed, and how the service is."""

from typing import Literal

from pydantic import AwareDatetime, ConfigDict, Field

from aiinfra_core.wire.records import Sent, SentPromotion


class Problem(Sent):
    """Why a request was not carried out (RFC 9457), with the text also under `error`; what does not apply is left out."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str
    code: str = Field(
        default="problem", description="What kind of problem it is, for programs: `not_found`, `digest_mismatch`, `unavailable`, …"
    )
    part: str | None = Field(default=None, description="The part that is missing, where one is: `database`, `signer`, …")
    place: str | None = Field(default=None, description="Where something recorded does not verify, where that is the problem.")
    request_id: str | None = None
    promotion: SentPromotion | None = Field(default=None, description="The promotion that was recorded as refused, where one was.")


class SentHealth(Sent):
    """That the service is alive."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class SentAlive(SentHealth):
    """That the process answers, and its clock, exactly: what it says of earlier things can be told from what it just did."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "time": "2026-03-05T09:30:00.123456Z"}]})

    time: AwareDatetime


class SentReadiness(Sent):
    """Whether every part the service needs is there: `ok`, or in a few words that it is not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ok", "parts": {"database": "ok", "migrations": "ok", "signer": "ok", "store": "ok"}}],
        }
    )

    status: Literal["ok", "unavailable"]
    parts: dict[str, str]
