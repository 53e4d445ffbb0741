"""`serve`: the HTTP API, in the foreground until it is told to stop."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import note, say, say_next, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.settings import Settings


def serve(
    *,
    addr: Annotated[str | None, Parameter(metavar="[HOST]:PORT", help="Where to listen; without it AI_INFRA_ADDR, else :8061.")] = None,
    host: Annotated[str | None, Parameter(help="The address to listen on, every one if there is none.")] = None,
    port: Annotated[int | None, Parameter(help="The port to listen on; 0 for a free one.")] = None,
    workers: Annotated[int | None, Parameter(help="How many processes answer; without it AI_INFRA_WORKERS, else 2.")] = None,
    run_runner: Annotated[bool | None, Parameter(negative=(), help="Also run queued trainings here, as AI_INFRA_RUNNER=true.")] = None,
    tls_cert: Annotated[Path | None, Parameter(help="Certificate and chain, PEM; without it AI_INFRA_TLS_CERT.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="Its private key, PEM; without it AI_INFRA_TLS_KEY.")] = None,
    tls_client_ca: Annotated[Path | None, Parameter(help="Who vouches for clients, PEM; without it AI_INFRA_TLS_CLIENT_CA.")] = None,
) -> ExitCode:
    """Serve the API until SIGTERM or Ctrl-C; requests that are under way are finished first."""
    asked = Settings()
    given = {
        "addr": _addr(asked, addr, host, port),
        "workers": workers,
        "runner": run_runner,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
    }
    given = {name: value for name, value in given.items() if value is not None}
    with working("Loading the service"):
        from aiinfra_core.http_api import server, starting  # imported late: --help needs no web server

    typed = {f"AI_INFRA_{name.upper()}": f"--{name.replace('_', '-')}" for name in given if name.startswith("tls_")}
    if addr is not None or host is not None:
        typed["AI_INFRA_ADDR"] = "--addr" if addr is not None else "--host with --port"
    # Before anything is started or reached, so that all of it is told at once.
    checks = (starting.check_may_start, lambda wanted: server.address(wanted.addr), server.tls_context)
    _refuse_wrong(_with(asked, given), checks, typed)
    settings = _with(running_parts(), given)
    helpless = starting.nobody_can_write(settings)
    finished = server.serve(settings, on_ready=lambda url: _say_ready(settings, url, helpless=helpless))
    if not finished:
        note("aiinfra: some requests were cut off; whoever sent them may send them again.")
    return ExitCode.OK if finished else ExitCode.INTERRUPTED


def _addr(settings: Settings, addr: str | None, host: str | None, port: int | None) -> str:
    if addr is not None:
        if host is not None or port is not None:
            raise BadInput("Give --addr, or --host and --port, not both.")
        return addr
    if port is not None and not 0 <= port <= 65535:
        raise BadInput("--port must be from 0 to 65535.")
    configured_host, _, configured_port = settings.addr.rpartition(":")
    if host is not None and ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{configured_host if host is None else host}:{configured_port if port is None else port}"


def _with(settings: Settings, given: dict[str, Any]) -> Settings:
    if not 1 <= given.get("workers", 1) <= 64:
        raise BadInput("--workers must be from 1 to 64.")
    return settings.model_copy(update=given)


def _refuse_wrong(settings: Settings, checks: Sequence[Callable[[Settings], object]], typed: Mapping[str, str]) -> None:
    wrong = []
    for check in checks:
        try:
            check(settings)
        except Misconfigured as error:
            wrong.append(str(error))
    told = " ".join(wrong)
    for variable, option in typed.items():
        told = told.replace(variable, option)
    if wrong:
        raise (Misconfigured if told == " ".join(wrong) else BadInput)(told)


def _say_ready(settings: Settings, url: str, *, helpless: bool) -> None:
    everywhere = " (on every address of this machine)" if settings.addr.startswith(":") else ""
    also = " and a runner" if settings.runner else ""
    say(f"Serving {url}{everywhere} with {settings.workers} worker{'s' * (settings.workers > 1)}{also}.")
    if helpless:
        say(
            "Nobody can write yet: set AI_INFRA_ALLOW_DEBUG_TOKEN=true and AI_INFRA_DEBUG_TOKEN, AI_INFRA_OIDC_ISSUER and "
            "AI_INFRA_OIDC_AUDIENCE, or AI_INFRA_TLS_CLIENT_CA."
        )
    trusting = f" --cacert {settings.tls_cert}" if settings.tls_cert else ""
    say_next(f"curl{trusting} {url}{'/ai-infra/models' if settings.reads_are_public else '/readyz'}")
    sys.stdout.flush()
