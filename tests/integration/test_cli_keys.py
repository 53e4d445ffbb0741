import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import command_line, vault
from tests.simulators.command_line import Run
from tests.simulators.scripted_server import unused_url
from tests.simulators.signers import public_key_of

installation, run = command_line.installation, command_line.run
KEY = Ed25519PrivateKey.generate()
PIN = public_key_of(KEY).base64
PURPOSES = ["artifact", "evaluation", "promotion", "audit"]


def key_file(folder: Path) -> tuple[Path, str]:
    path = folder / "audit.key"
    path.touch(0o600)
    path.write_text(local.generate())
    return path, local.from_base64(path.read_text()).public_key.keyid


def test_each_purpose_shows_its_own_signer(installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, keyid = key_file(tmp_path)
    monkeypatch.setenv("AI_INFRA_AUDIT_SIGNER_URI", f"file:{path}?signer-id=audit-2026")
    shown = run("keys show --json").json
    assert [signer["purpose"] for signer in shown["signers"]] == PURPOSES
    assert [signer["signerId"] for signer in shown["signers"]] == ["test", "test", "test", "audit-2026"]
    assert (shown["signerId"], shown["signers"][3]["keyid"]) == ("test", keyid)
    told = run("keys show").out
    assert "artifact, evaluation, promotion\n" in told
    assert (told.count("public key"), keyid in told) == (2, True)


def test_keys_check_signs_with_every_signer_and_tells_how_long_it_took(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vault.serve(vault.signs(KEY)) as server:
        monkeypatch.setenv("VAULT_TOKEN", vault.TOKEN)
        monkeypatch.setenv("AI_INFRA_PROMOTION_SIGNER_URI", f"vault:release?address={server.url}&public-key={PIN}&signer-id=vault:release")
        checked = run("keys check --json").json
    assert [(row["purpose"], row["outcome"], row["milliseconds"] >= 0) for row in checked] == [(name, "pass", True) for name in PURPOSES]
    assert [row["signerId"] for row in checked] == ["test", "test", "vault:release", "test"]
    assert b"states nothing" in base64.b64decode(server.requests[0].json["input"])


def test_keys_check_tells_every_signer_that_fails_and_ends_with_the_code_of_the_first(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vault.serve(vault.signs(Ed25519PrivateKey.generate())) as server:
        monkeypatch.setenv("VAULT_TOKEN", vault.TOKEN)
        monkeypatch.setenv("AI_INFRA_PROMOTION_SIGNER_URI", f"vault:release?address={server.url}&public-key={PIN}")
        monkeypatch.setenv("AI_INFRA_AUDIT_SIGNER_URI", f"{unused_url()}?public-key={PIN}")
        failed = run("keys check")
    assert (failed.code, failed.out.count("pass"), failed.out.count("fail: ")) == (4, 2, 2)
    assert "does not verify with the pinned key" in failed.error
    monkeypatch.setenv("AI_INFRA_ARTIFACT_SIGNER_URI", "vault:release?address=https://vault.example")
    failed = run("keys check --json")
    assert (failed.code, "needs it pinned" in failed.json[0]["outcome"], failed.json[1]["outcome"]) == (6, True, "pass")
