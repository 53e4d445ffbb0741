"""`pull`: what is current, here or at a service, verified and taken to this machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, working
from aiinfra_core.cli.registry import PATIENCE_SECONDS, UNREACHED_SECONDS, Server
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import BadInput
from aiinfra_core.serving import pulling, trusted
from aiinfra_core.serving.pulling import Pulled
from aiinfra_core.serving.verified import places_of
from aiinfra_core.settings import Settings, environment_named


def pull(
    current: Annotated[str, Parameter(metavar="MODEL@ENVIRONMENT", help="What is current there.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The new directory.")],
    trust_root: Annotated[
        Path | None, Parameter(help="A pinned N.root.json in its trust directory; without it, AI_INFRA_TRUST_ROOT.")
    ] = None,
    key: Annotated[
        list[str] | None,
        Parameter(negative=(), metavar="BASE64", help="The public key promotions are signed with, where there is no root of trust."),
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Take what is current to this machine."""
    model, at, environment = current.partition("@")
    if not (model and at and environment):
        raise BadInput(f"pull takes MODEL@ENVIRONMENT, such as rain@prod, not {current!r}.")
    if trust_root is not None and key:
        raise BadInput("--trust-root says whose promotions count, and so does --key; give one of them.")
    given = trusted.pinned(key) if key else trusted.opened(trust_root) if trust_root else None
    with working(f"Pulling {current}"):
        pulled = _there(server, model, environment, out, given) if server else _here(model, environment, out, given)
    _say(pulled, out, as_json=as_json)


def _there(server: str, model: str, environment: str, out: Path, given: Trust | None) -> Pulled:
    from aiinfra_core.client import Client

    settings = Settings()
    trust = given or (trusted.opened(settings.trust_root) if settings.trust_root else trusted.pinned(()))
    places = places_of(settings)
    with Client.from_environment(server, deadline=PATIENCE_SECONDS, unreached=UNREACHED_SECONDS) as client:
        answer = client.routing(environment, model)
    assert answer is not None  # noqa: S101 - nothing was known
    return pulling.pull(answer[0], trust, environment=environment, model=model, places=places, out=out, now=datetime.now(UTC))


def _here(model: str, environment: str, out: Path, given: Trust | None) -> Pulled:
    from aiinfra_core import routing
    from aiinfra_core.cli.parts import running_parts
    from aiinfra_core.keys import trust_of

    settings = running_parts()
    environment = environment_named(settings, environment)
    routed = routing.routing_of(settings, environment, model)
    trust, places = given or trust_of(settings), places_of(settings)
    return pulling.pull(routed.bundle, trust, environment=environment, model=model, places=places, out=out, now=datetime.now(UTC))


def _say(pulled: Pulled, out: Path, *, as_json: bool) -> None:
    if as_json:
        return say_json(_as_json(pulled))
    routing = pulled.routing
    say(f"{pulled.path} is {routing.model}:{routing.champion.version}, current in {routing.environment}; bytes and signatures verify.")
    say_fields({"checksum": routing.champion.checksum, "sequence": routing.sequence, "manifest": routing.champion.manifest})
    return say(f"The signed routing and its manifest are in {out / pulling.ROUTING}.")


def _as_json(pulled: Pulled) -> dict[str, Any]:
    routing = pulled.routing
    return {
        "path": str(pulled.path),
        "routing": str(pulled.path.parent / pulling.ROUTING),
        "model": routing.model,
        "version": routing.champion.version,
        "environment": routing.environment,
        "sequence": routing.sequence,
        "changes": routing.changes,
        "checksum": routing.champion.checksum,
        "manifest": routing.champion.manifest,
    }
