"""`aiinfra serve` with settings that may not be served: one line that says what to set, exit code 6, and nobody is answered.

Every forbidden combination is tried in `tests/unit/test_starting.py`; here it is seen that the command asks.
"""

import pytest

from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.unit.test_starting import PRODUCTION

installation, run = command_line.installation, command_line.run


@pytest.fixture
def production(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Configure a whole production installation on a real database."""
    assert installation.database_url is not None
    monkeypatch.delenv("AI_INFRA_SIGNER_KEY_B64")
    monkeypatch.delenv("AI_INFRA_SIGNER_ID")
    for name, value in (PRODUCTION | {"AI_INFRA_DATABASE_URL": installation.database_url.get_secret_value()}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"AI_INFRA_ALLOW_DEBUG_TOKEN": "true", "AI_INFRA_DEBUG_TOKEN": "a-debug-token"}, "takes no debug token; unset"),
        ({"AI_INFRA_SIGNER_URI": "file:/etc/ai-infra/signer.key"}, "set AI_INFRA_KMS_ENDPOINT"),
        ({"AI_INFRA_OIDC_ISSUER": "", "AI_INFRA_OIDC_AUDIENCE": ""}, "a way to know who asks; set AI_INFRA_OIDC_ISSUER"),
        ({"REQUIRE_MTLS": "true"}, "set AI_INFRA_TLS_CLIENT_CA"),
    ],
)
def test_a_forbidden_production_does_not_start(production: pytest.MonkeyPatch, run: Run, wrong: dict[str, str], told: str) -> None:
    for name, value in wrong.items():
        production.setenv(name, value)
    refused = run("serve --port 0")
    assert (refused.code, told in refused.error) == (6, True), refused.error
    assert "a-debug-token" not in refused.err


def test_everything_that_is_wrong_is_told_by_one_start_before_the_database_is_asked(production: pytest.MonkeyPatch, run: Run) -> None:
    production.setenv("AI_INFRA_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert run("models list").code == 4
    production.delenv("AI_INFRA_ARTIFACT_ROOT")
    production.setenv("AI_INFRA_DEBUG_TOKEN", "a-debug-token")
    production.setenv("AI_INFRA_ADDR", "nonsense")
    refused = run("serve")
    every = ("takes no debug token", "set AI_INFRA_ARTIFACT_ROOT", "AI_INFRA_ADDR must be", "AI_INFRA_TLS_CERT (")
    assert (refused.code, [told for told in every if told not in refused.error]) == (6, [])


def test_roles_that_do_not_exist_do_not_start_in_development_either(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_ROLES", '{"group:ml": ["root"]}')
    refused = run("serve --port 0")
    assert (refused.code, "the role 'root'; known are viewer" in refused.error) == (6, True)
