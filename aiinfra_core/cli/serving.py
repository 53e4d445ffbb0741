"""`serve`: the HTTP API, in the foreground until it is told to stop."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import note, say, say_next, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.errors import BadInput
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
    settings = running_parts()
    given = {
        "addr": _addr(settings, addr, host, port),
        "workers": workers,
        "runner": run_runner,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
    }
    settings = _with(settings, {name: value for name, value in given.items() if value is not None})
    with working("Loading the service"):
        from aiinfra_core.http_api import server, starting  # imported late: --help needs no web server

    starting.check_may_start(settings)
    finished = server.serve(settings, on_ready=lambda url: _say_ready(settings, url))
    if not finished:
        note("aiinfra: some requests were cut off; whoever sent them may send them again.")
    return ExitCode.OK if finished else ExitCode.INTERRUPTED


def _addr(settings: Settings, addr: str | None, host: str | None, port: int | None) -> str:
    if addr is not None:
        if host is not None or port is not None:
            raise BadInput("Give --addr, or --host and --port, not both.")
        return addr
    configured_host, _, configured_port = settings.addr.rpartition(":")
    if host is not None and ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{configured_host if host is None else host}:{configured_port if port is None else port}"


def _with(settings: Settings, given: dict[str, Any]) -> Settings:
    if not 1 <= given.get("workers", 1) <= 64:
        raise BadInput("--workers must be from 1 to 64.")
    return settings.model_copy(update=given)


def _say_ready(settings: Settings, url: str) -> None:
    everywhere = " (on every address of this machine)" if settings.addr.startswith(":") else ""
    also = " and a runner" if settings.runner else ""
    say(f"Serving {url}{everywhere} with {settings.workers} worker{'s' * (settings.workers > 1)}{also}.")
    trusting = f" --cacert {settings.tls_cert}" if settings.tls_cert else ""
    say_next(f"curl{trusting} {url}{'/ai-infra/models' if settings.reads_are_public else '/readyz'}")
    sys.stdout.flush()
