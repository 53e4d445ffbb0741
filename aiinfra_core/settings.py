"""Every setting, read from the environment in one place; no instance is made at import time.

What a missing setting means during development (embedded Postgres, local store, development key) is decided in `embedded`.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aiinfra_core.domain.record import Name
from aiinfra_core.domain.trust import LogOrigin
from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.signing.uri import is_remote

DEVELOPMENT_SIGNER_ID = "development"
_POSTGRESQL_SPELLINGS = ("postgresql", "postgres", "postgresql+psycopg")


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "ai-infra"


def _plain_postgresql(url: SecretStr) -> SecretStr:
    scheme, separator, rest = url.get_secret_value().partition("://")
    if not separator or scheme not in _POSTGRESQL_SPELLINGS:
        raise ValueError("must be a PostgreSQL address, postgresql://USER@HOST/DATABASE")
    from psycopg import Error, conninfo  # only where a database is configured: verifying an export needs none
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(f"postgresql://{rest}")
        conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except (ArgumentError, ValueError, Error):  # their messages may quote a password
        raise ValueError("must be a PostgreSQL address, postgresql://USER@HOST/DATABASE") from None
    return SecretStr(f"postgresql://{rest}")


def _plain_token(token: SecretStr) -> SecretStr:
    value = token.get_secret_value()
    if not value or not all("!" <= letter <= "~" for letter in value):
        raise ValueError("must be printable ASCII without spaces")  # in a header, anything else would be an error that quotes it
    return token


def _split_at_commas(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _some_and_each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names):
        raise ValueError("must name at least one environment, each once, such as staging,prod")
    return names


class Settings(BaseSettings):
    """What the operator configured; secrets never show in a repr."""

    model_config = SettingsConfigDict(env_prefix="AI_INFRA_", frozen=True, extra="ignore", validate_by_name=True)

    home: Path = Field(default_factory=_default_home)
    env: str = Field(default="development", validation_alias=AliasChoices("AI_INFRA_ENV", "NODE_ENV"))
    database_url: Annotated[SecretStr, AfterValidator(_plain_postgresql)] | None = Field(
        default=None, validation_alias=AliasChoices("AI_INFRA_DATABASE_URL", "DATABASE_URL")
    )
    environments: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split_at_commas), AfterValidator(_some_and_each_once)] = (
        "staging",
        "prod",
    )

    artifact_root: str | None = None
    s3_endpoint_url: str | None = None

    signer_uri: str | None = None
    artifact_signer_uri: str | None = None
    evaluation_signer_uri: str | None = None
    promotion_signer_uri: str | None = None
    audit_signer_uri: str | None = None
    signer_key_b64: SecretStr | None = None
    signer_id: str | None = None
    kms_endpoint: str | None = None
    kms_public_key_b64: str | None = None
    kms_timeout_seconds: float = Field(default=5.0, gt=0)

    trust_root: Path | None = None
    log_origin: LogOrigin = "ai-infra.local/audit"
    checkpoint_root: str | None = None
    checkpoint_lock_days: int | None = Field(default=None, gt=0)
    checkpoint_seconds: float = Field(default=30.0, gt=0, le=60)
    audit_sinks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas)] = Field(default=(), repr=False)
    audit_sink_token: Annotated[SecretStr, AfterValidator(_plain_token)] | None = None
    openssf_key: Path | None = None

    addr: str = ":8061"
    public_reads: bool | None = None
    allow_debug_token: bool = False
    debug_token: SecretStr | None = None

    sentinel_url: str | None = None
    sentinel_timeout_seconds: float = Field(default=5.0, gt=0)
    min_promo_score: float = Field(default=0.8, allow_inf_nan=False)

    training_timeout_seconds: float = Field(default=3600.0, gt=0)
    require_kms: bool = Field(default=False, validation_alias="REQUIRE_KMS")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors(include_input=False)
            )
            raise Misconfigured(f"A setting is wrong: {wrong}.") from None

    @property
    def production(self) -> bool:
        """Whether development defaults are forbidden here."""
        return self.env == "production"

    @property
    def reads_are_public(self) -> bool:
        """Whether the reads of the seed's service are open to everybody; in production only where it was asked for."""
        return not self.production if self.public_reads is None else self.public_reads

    @property
    def signer_uris(self) -> tuple[str | None, ...]:
        """The signer each purpose asks for, of artifacts, evaluations, promotions and audit events; None where there is none."""
        own = (self.artifact_signer_uri, self.evaluation_signer_uri, self.promotion_signer_uri, self.audit_signer_uri)
        shared = self.signer_uri or self.kms_endpoint or ("env:" if self.signer_key_b64 else None)
        return tuple(uri or shared for uri in own)

    @model_validator(mode="after")
    def _production_has_what_it_needs(self) -> "Settings":
        if self.require_kms and not all(uri and is_remote(uri) for uri in self.signer_uris):
            raise ValueError(
                "REQUIRE_KMS is set, so AI_INFRA_KMS_ENDPOINT must be too, or each signer URI must be https:, awskms:, vault: or pkcs11:"
            )
        if self.kms_endpoint and not (self.kms_public_key_b64 or "public-key=" in self.kms_endpoint):
            raise ValueError("AI_INFRA_KMS_ENDPOINT needs its key pinned in AI_INFRA_KMS_PUBLIC_KEY_B64")
        return self


def environment_named(settings: Settings, name: str) -> str:
    """Return the configured environment of this name; `production` is another word for `prod`.

    Raises:
        NotFound: there is none; the message names those there are.
    """
    if name in settings.environments:
        return name
    if name == "production" and "prod" in settings.environments:
        return "prod"
    raise NotFound(f"There is no environment {name!r}; known are {', '.join(settings.environments)}.")
