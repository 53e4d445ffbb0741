"""`aiinfra init --production`: a key per purpose, a trust root, an environment file; and that it works once it is filled in."""

import base64
import re
import shlex
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from aiinfra_core import keys
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.http_api.starting import check_may_start
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.simulators.trust_files import signer

installation, run = command_line.installation, command_line.run


def read_environment(path: Path) -> dict[str, str]:
    """Return what a shell would take from an environment file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}


def test_a_key_for_each_purpose_a_trust_root_and_what_is_left_to_do(run: Run, tmp_path: Path, home: Path) -> None:
    made = run(f"init --production --out {tmp_path / 'out'} --log models.example/audit --json").json
    folder = tmp_path / "out"
    names = ["artifact.key", "audit.key", "evaluation.key", "promotion.key", "root.key", "targets.key"]
    assert [Path(path).name for path in made["keyFiles"]] == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*(folder / "keys").iterdir(), folder / "production.env")} == {0o600}
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    publics = {local.from_base64(local.read_key_file(folder / "keys" / name)).public_key.keyid: name for name in names}
    assert len(publics) == 6
    shown = run(f"trust show {folder / 'trust'} --json").json
    assert {publics[key["keyid"]]: key["purposes"] for key in shown["trust"]["keys"]} == {
        f"{purpose}.key": [purpose] for purpose in ("artifact", "evaluation", "promotion", "audit")
    }
    assert [publics[keyid] for keyid in shown["root"]["keys"]] == ["root.key"]
    assert (publics[shown["root"]["targetsKey"]], shown["trust"]["logs"]) == ("targets.key", ["models.example/audit"])
    assert "move keys/root.key offline" in " ".join(made["left"])
    assert "wants every key in a KMS" in made["left"][-1]
    assert made["left"][-1].endswith(": aiinfra serve")
    assert not home.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["keys", "production.env", "trust"]


def test_nothing_is_overwritten_and_nothing_half_done_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refused = run(f"init --production --out {tmp_path / 'out'}")
    assert (refused.code, "exists already" in refused.error) == (2, True)
    assert list((tmp_path / "out").iterdir()) == []
    for wrong in ("--signer audit=file:missing", "--threshold 2", "--signer root=env:", "--signer audit", "--root-key nonsense"):
        assert run(f"init --production --out {tmp_path / 'new'} {wrong}").code in (2, 6), wrong
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for line in ("init --production", f"init --out {tmp_path / 'new'}", "init --signer audit=env:"):
        assert "--production and --out DIR" in run(line).error


def test_the_environment_file_is_taken_by_a_production_installation_and_everything_verifies(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(f"init --production --out {tmp_path / 'out'}")
    written = read_environment(tmp_path / "out" / "production.env")
    assert [name for name, value in written.items() if not value] == ["AI_INFRA_DATABASE_URL", "AI_INFRA_ARTIFACT_ROOT"]
    monkeypatch.delenv("AI_INFRA_SIGNER_KEY_B64")
    monkeypatch.delenv("AI_INFRA_SIGNER_ID")
    for name, value in written.items():
        if value:
            monkeypatch.setenv(name, value)
    (tmp_path / "model.json").write_text("{}")
    assert run(f"register --model rain {tmp_path / 'model.json'}").code == 0
    promoted = run("promote rain --to staging --metric quality=0.9 --json").json
    assert (promoted["status"], promoted["signerId"]) == ("applied", "promotion")
    assert run("trust publish").code == 0
    monkeypatch.setenv("REQUIRE_KMS", "true")
    refused = run("models list")
    assert (refused.code, "REQUIRE_KMS" in refused.error) == (6, True)


def test_an_environment_file_that_is_not_filled_in_starts_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"init --production --out {tmp_path / 'out'}")
    for name, value in read_environment(tmp_path / "out" / "production.env").items():
        monkeypatch.setenv(name, value)
    refused = run("models list")
    assert (refused.code, "database_url" in refused.error.lower()) == (6, True)


def test_what_the_environment_file_proposes_for_the_service_is_taken_by_it_with_keys_in_a_kms(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"https://kms.example/sign?public-key={signer('audit').public_key.base64}"
    run(f"init --production --out {tmp_path / 'out'}" + "".join(f" --signer {purpose}={uri}" for purpose in keys.SIGNED_HERE))
    path = tmp_path / "out" / "production.env"
    text = path.read_text()
    path.write_text(re.sub(r"^#(AI_INFRA_|REQUIRE_)", r"\1", text[text.index("# The service") :], flags=re.MULTILINE))
    proposed = read_environment(path)
    assert list(proposed) == [
        *("AI_INFRA_ADDR", "AI_INFRA_OIDC_ISSUER", "AI_INFRA_OIDC_AUDIENCE", "AI_INFRA_ROLES", "AI_INFRA_TLS_CERT", "AI_INFRA_TLS_KEY"),
        *("AI_INFRA_TLS_CLIENT_CA", "REQUIRE_MTLS", "AI_INFRA_TLS_TERMINATED_BY_PROXY", "AI_INFRA_TRUSTED_PROXIES"),
    ]
    path.write_text(text)
    filled = {"AI_INFRA_DATABASE_URL": "postgresql://service@db.example/models", "AI_INFRA_ARTIFACT_ROOT": "s3://models/production"}
    for name, value in (read_environment(path) | filled | proposed).items():
        monkeypatch.setenv(name, value)
    check_may_start(Settings())


def test_signers_in_a_kms_and_root_keys_of_others_are_taken_as_they_are(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = {purpose: signer(purpose).public_key.base64 for purpose in keys.SIGNED_HERE}
    uris = {
        Purpose.ARTIFACT: f"vault:artifact?address=https://vault.example&signer-id=artifact&public-key={pins[Purpose.ARTIFACT]}",
        Purpose.EVALUATION: f"https://kms.example/evaluation?signer-id=evaluation&public-key={pins[Purpose.EVALUATION]}",
        Purpose.PROMOTION: f"awskms:alias/promotion?region=eu-central-1&signer-id=promotion&public-key={pins[Purpose.PROMOTION]}",
        Purpose.AUDIT: f"pkcs11:token=audit;object=audit?module-path=/usr/lib/hsm.so&signer-id=audit&public-key={pins[Purpose.AUDIT]}",
    }
    given = " ".join(f"--signer '{purpose}={uri}'" for purpose, uri in uris.items())
    root = " ".join(f"--root-key {signer(name).public_key.base64}" for name in ("alice", "bob"))
    made = run(f"init --production --out {tmp_path / 'out'} {given} {root} --threshold 2 --json").json
    assert ([Path(path).name for path in made["keyFiles"]], made["rootCounts"]) == (["targets.key"], False)
    assert "have the other root keys sign" in made["left"][1]
    assert made["left"][-1] == "fill in the service's part of production.env: aiinfra serve"
    written = read_environment(tmp_path / "out" / "production.env")
    assert written["REQUIRE_KMS"] == "true"
    assert {purpose: written[f"AI_INFRA_{purpose.upper()}_SIGNER_URI"] for purpose in uris} == uris
    waiting = run(f"trust show {tmp_path / 'out' / 'trust'} --json").json["waiting"]
    assert [(it["root"], it["signatures"]) for it in waiting["lacking"]] == [(1, 2)]
    for name in ("alice", "bob"):
        path = tmp_path / f"{name}.key"
        path.write_text(_seed(name))
        path.chmod(0o600)
        assert run(f"trust sign {tmp_path / 'out' / 'trust'} --key file:{path}").code == 0
    shown = run(f"trust show {tmp_path / 'out' / 'trust'} --json").json
    assert {key["signerId"]: key["publicKey"] for key in shown["trust"]["keys"]} == {str(purpose): pin for purpose, pin in pins.items()}


def _seed(name: str) -> str:
    return base64.b64encode(sha256(name.encode()).digest()).decode()
