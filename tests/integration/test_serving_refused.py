"""`aiinfra serve` with an address, a port or files that are wrong: one line that names them as they were given, and the exit code."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from aiinfra_core.settings import Settings
from tests.simulators import command_line
from tests.simulators.certificates import Authority
from tests.simulators.command_line import Run
from tests.simulators.served import PROJECT, begun, environment

installation, run = command_line.installation, command_line.run


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, begun(tmp_path, environment(settings), "--port", "0") as both:
        assert both.process.wait(30) == 2
        assert "not both" in both.err.read_text()
        done = _serve(settings, "--addr", f"127.0.0.1:{taken.getsockname()[1]}")
        assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
            2,
            f"aiinfra: The service cannot listen on 127.0.0.1:{taken.getsockname()[1]}: address already in use; choose another --addr.",
        )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tls-cert", "{missing}", "--tls-key", "{missing}"), "no such file or directory"),
        (("--tls-cert", "{text}", "--tls-key", "{text}"), "--tls-cert ("),
        (("--tls-cert", "{cert}", "--tls-key", "{other}"), "do not belong together"),
        (("--tls-cert", "{cert}", "--tls-key", "{locked}"), "has a password"),
        (("--tls-cert", "{cert}", "--tls-key", "{key}", "--tls-client-ca", "{text}"), "--tls-client-ca ("),
        (("--addr", "127.0.0.1"), "--addr must be HOST:PORT or :PORT, not '127.0.0.1'."),
        (("--addr", "[::1"), "--addr must be HOST:PORT"),
        (("--host", "a/b"), "--host with --port must be HOST:PORT"),
        (("--port", "80888"), "--port must be from 0 to 65535."),
        (("--addr", "nonsense", "--tls-cert", "{text}", "--tls-client-ca", "{text}"), "--addr must be HOST:PORT"),
    ],
)
def test_files_and_addresses_that_are_typed_wrong_are_one_line_that_names_the_option_and_exit_code_2(
    installation: Settings, run: Run, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    authority = Authority(tmp_path)
    own, other = authority.server(), authority.server()
    text = tmp_path / "text.pem"
    text.write_text("no PEM\n")
    locked = tmp_path / "locked.key"
    secret = load_pem_private_key(own.key.read_bytes(), None)
    locked.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    files = {"cert": own.cert, "key": own.key, "other": other.key, "text": text, "missing": tmp_path / "missing", "locked": locked}
    failed = run(" ".join(("serve", *(flag.format(**files) for flag in flags))))
    assert (failed.code, says in failed.error, "AI_INFRA_" in failed.error) == (2, True, False), failed.err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"AI_INFRA_ADDR": "nonsense"}, "AI_INFRA_ADDR must be HOST:PORT"),
        ({"AI_INFRA_TLS_CERT": "/none.pem"}, "AI_INFRA_TLS_CERT (/none.pem)"),
    ],
)
def test_files_and_addresses_that_are_configured_wrong_are_named_as_they_are_and_exit_code_6(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], says: str
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    failed = run("serve --workers 1")
    assert (failed.code, says in failed.error) == (6, True), failed.err


def _serve(settings: Settings, *flags: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "serve", *flags], env=environment(settings), cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
