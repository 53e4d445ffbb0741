"""The manifest for Kubernetes asks for what the service has."""

from pathlib import Path
from typing import Any

import yaml

from aiinfra_core.http_api import server
from aiinfra_core.http_api.routes import health
from aiinfra_core.settings import Settings

MANIFEST = Path(__file__).parents[2] / "deployments" / "kubernetes" / "service.yaml"


def _pod() -> dict[str, Any]:
    (deployment,) = [part for part in yaml.safe_load_all(MANIFEST.read_text()) if part["kind"] == "Deployment"]
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_probes_ask_for_addresses_there_are_at_the_port_there_is() -> None:
    (container,) = _pod()["containers"]
    paths = {getattr(route, "path", None) for route in health.router.routes}
    (port,) = container["ports"]
    assert port["containerPort"] == server.address(Settings().addr)[1]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in paths
        assert (asked["port"], asked["scheme"]) == (port["name"], "HTTPS")


def test_it_is_given_the_time_it_needs_to_end() -> None:
    pod = _pod()
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause + Settings().drain_seconds + server.CLOSING_SECONDS


def test_its_variables_are_settings() -> None:
    (container,) = _pod()["containers"]
    names = {entry["name"].removeprefix("AI_INFRA_").lower() for entry in container["env"]}
    assert names <= set(Settings.model_fields)
