"""Every setting, read from the environment in one place; no instance is made at import time.

What a missing setting means during development (embedded Postgres, local store, development key) is decided in `embedded`.
"""

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aiinfra_core.domain.record import Name
from aiinfra_core.domain.trust import LogOrigin
from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.setting_values import (
    kind_of_installation,
    listed,
    networks,
    plain_postgresql,
    plain_token,
    some_and_each_once,
    split_at_commas,
    told,
    webhook_address,
    webhook_secret,
)
from aiinfra_core.signing.uri import is_remote

DEVELOPMENT_SIGNER_ID = "development"


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "ai-infra"


OidcAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Settings(BaseSettings):
    """What the operator configured; secrets never show in a repr."""

    model_config = SettingsConfigDict(env_prefix="AI_INFRA_", frozen=True, extra="ignore", validate_by_name=True)

    home: Path = Field(default_factory=_default_home)
    env: Annotated[Literal["development", "test", "staging", "production"], BeforeValidator(kind_of_installation)] = Field(
        default="development", validation_alias="AI_INFRA_ENV"
    )
    node_env: Annotated[str, AfterValidator(kind_of_installation)] = Field(default="", validation_alias="NODE_ENV")  # others' words too
    database_url: Annotated[SecretStr, AfterValidator(plain_postgresql)] | None = Field(
        default=None, validation_alias=AliasChoices("AI_INFRA_DATABASE_URL", "DATABASE_URL")
    )
    environments: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(split_at_commas), AfterValidator(some_and_each_once)] = (
        "staging",
        "prod",
    )

    artifact_root: str | None = None
    artifact_roots: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = ()
    verify_concurrency: int = Field(default=4, gt=0)
    s3_endpoint_url: str | None = None

    signer_uri: str | None = None
    artifact_signer_uri: str | None = None
    evaluation_signer_uri: str | None = None
    promotion_signer_uri: str | None = None
    audit_signer_uri: str | None = None
    approval_signer_uri: str | None = None  # an approver's own key, where they type; never the service's
    vouching_signer_uri: str | None = None  # the service's, for approvals of people it knows by their identity provider
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
    audit_sinks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_at_commas)] = Field(default=(), repr=False)
    audit_sink_token: Annotated[SecretStr, AfterValidator(plain_token)] | None = None
    openssf_key: Path | None = None

    addr: str = ":8061"
    workers: int = Field(default=2, ge=1, le=64)
    worker_threads: int = Field(default=24, ge=1, le=32)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    otel_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    public_reads: bool | None = None
    allow_debug_token: bool = False
    debug_token: SecretStr | None = None

    oidc_issuer: str | None = None
    oidc_audience: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = ()
    oidc_jwks_url: str | None = None
    oidc_algorithms: Annotated[tuple[OidcAlgorithm, ...], NoDecode, BeforeValidator(split_at_commas), Field(min_length=1)] = (
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
    )
    oidc_actor_claim: str = Field(default="sub", min_length=1)
    oidc_roles_claim: str = Field(default="groups", min_length=1)
    oidc_leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    oidc_keys_refresh_seconds: float = Field(default=300.0, gt=0)
    oidc_keys_usable_seconds: float = Field(default=3600.0, gt=0, le=86400)
    roles: str | None = None  # JSON, read by `http_api.access.roles`
    require_mtls: bool = Field(default=False, validation_alias="REQUIRE_MTLS")
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(networks)] = ()
    proxy_cert_header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$", to_lower=True)] | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tls_terminated_by_proxy: bool = False

    max_body_bytes: int = Field(default=1024 * 1024, gt=0, le=64 * 1024 * 1024)
    body_seconds: float = Field(default=10.0, gt=0, le=600)
    rate_per_second: float = Field(default=1000.0, ge=0, allow_inf_nan=False)  # 0: no limit
    rate_burst: int = Field(default=2000, gt=0)
    failed_proofs_per_minute: int = Field(default=60, gt=0)

    sentinel_url: str | None = None
    sentinel_timeout_seconds: float = Field(default=5.0, gt=0)
    min_promo_score: float = Field(default=0.8, allow_inf_nan=False)
    policy: str | None = None  # a name in deployments/policies, or the path of a YAML file
    policy_seconds: float = Field(default=5.0, gt=0, le=60)
    public_url: str | None = None  # where people reach the service: links to approval pages begin with it
    notify_url: Annotated[SecretStr, AfterValidator(webhook_address)] | None = None
    notify_secret: Annotated[SecretStr, AfterValidator(webhook_secret)] | None = None
    notify_events: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(told)] = ()
    notify_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(networks)] = ()
    scan: bool = True
    scan_seconds: float = Field(default=120.0, gt=0, le=3600)

    rollouts: Path | None = None  # YAML: how promotions earn their traffic where they do not say, and the queries of signals
    prometheus_url: Annotated[SecretStr, AfterValidator(webhook_address)] | None = None
    prometheus_token: Annotated[SecretStr, AfterValidator(plain_token)] | None = None
    signals_database_url: Annotated[SecretStr, AfterValidator(plain_postgresql)] | None = None
    signal_seconds: float = Field(default=10.0, gt=0, le=60)
    routing_seconds: float = Field(default=300.0, ge=2, le=86400)  # how long a signed routing counts before a new one is needed
    router_url: Annotated[SecretStr, AfterValidator(webhook_address)] | None = None
    router_secret: Annotated[SecretStr, AfterValidator(webhook_secret)] | None = None

    training_timeout_seconds: float = Field(default=3600.0, gt=0)
    training_attempts: int = Field(default=3, gt=0)
    lease_seconds: float = Field(default=60.0, ge=1, le=3600)
    runner: bool = False
    runner_concurrency: int = Field(default=1, gt=0, le=64)
    drain_seconds: float = Field(default=25.0, ge=0, le=3600)
    prefect_deployment: Annotated[str, StringConstraints(pattern=r"^[^/\s]+/[^/\s]+$")] | None = None
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    prefect_api_key: SecretStr | None = Field(default=None, validation_alias="PREFECT_API_KEY")
    prefect_ui_url: str | None = Field(default=None, validation_alias="PREFECT_UI_URL")
    require_kms: bool = Field(default=False, validation_alias="REQUIRE_KMS")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = "; ".join(
                ": ".join((*_variable(item["loc"]), item["msg"].removeprefix("Value error, ")))
                for item in error.errors(include_input=False)
            )
            raise Misconfigured(f"A setting is wrong: {wrong}.") from None

    @property
    def production(self) -> bool:
        """Whether development defaults are forbidden here."""
        return "production" in (self.env, self.node_env)

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
    def _deployment_is_somewhere(self) -> "Settings":
        if self.prefect_deployment is not None and not self.prefect_api_url:
            raise ValueError("AI_INFRA_PREFECT_DEPLOYMENT names a deployment, so PREFECT_API_URL must say where Prefect is")
        return self

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> "Settings":
        if self.notify_url is not None and self.notify_secret is None:
            raise ValueError("AI_INFRA_NOTIFY_URL is set, so AI_INFRA_NOTIFY_SECRET must be too; who receives it knows the same secret")
        if self.notify_url is not None and self.production and not self.notify_url.get_secret_value().startswith("https://"):
            raise ValueError("AI_INFRA_NOTIFY_URL must be https:// in production")
        return self

    @model_validator(mode="after")
    def _router_is_signed(self) -> "Settings":
        if self.router_url is not None and self.router_secret is None:
            raise ValueError("AI_INFRA_ROUTER_URL is set, so AI_INFRA_ROUTER_SECRET must be too; the router knows the same secret")
        return self

    @model_validator(mode="after")
    def _production_has_what_it_needs(self) -> "Settings":
        vouching = self.vouching_signer_uri or self.signer_uris[-1]  # where it has none of its own, it is one of the others
        if self.require_kms and not all(uri and is_remote(uri) for uri in (*self.signer_uris, vouching)):
            raise ValueError(
                "REQUIRE_KMS is set, so AI_INFRA_KMS_ENDPOINT must be too, or each signer URI must be https:, awskms:, vault: or pkcs11:"
            )
        if self.kms_endpoint and not (self.kms_public_key_b64 or "public-key=" in self.kms_endpoint):
            raise ValueError("AI_INFRA_KMS_ENDPOINT needs its key pinned in AI_INFRA_KMS_PUBLIC_KEY_B64")
        return self


def _variable(place: tuple[int | str, ...]) -> list[str]:
    if not place or not isinstance(place[0], str):
        return []  # it is about several, and its text names them
    return [".".join((f"AI_INFRA_{place[0].upper()}" if place[0] in Settings.model_fields else place[0], *map(str, place[1:])))]


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
