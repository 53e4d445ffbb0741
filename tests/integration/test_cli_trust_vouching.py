"""The trust root that `aiinfra trust init` makes goes on with what was recorded before it: the approvals that this home vouched for too."""

from pathlib import Path

import pytest

from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import approvers, command_line, policies
from tests.simulators.command_line import Run

installation, run = command_line.installation, command_line.run


def _approved_by_name(settings: Settings, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Carry a promotion to prod with the word of a second person whom this machine vouches for; return the version."""
    asks = policies.under(settings, folder, policies.SEES_EVERYTHING + "approvals: {roles: {security: 1}}\n")
    monkeypatch.setenv("AI_INFRA_POLICY", str(asks.policy))
    artifact = approvers.registered(settings, by="rita")
    name = f"{artifact.model}:{artifact.version}"
    waits = run(f"promote {name} --to prod --metric quality=0.9 --requested-by paul --json").json
    assert run(f"approve {waits['id']} --manifest {waits['manifest']} --approver alice --json").json["promotion"]["status"] == "applied"
    return name


def test_a_history_with_approvals_by_name_verifies_under_the_homes_own_trust_root(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _approved_by_name(installation, run, tmp_path, monkeypatch)
    assert run("trust init").code == 0
    verified = run(f"verify {name}")
    assert verified.code == 0, verified.out
    checked = run("audit verify")
    assert checked.code == 0, checked.out + checked.err


def test_a_key_that_only_lacks_a_purpose_is_listed_with_the_command_that_is_told(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _approved_by_name(installation, run, tmp_path, monkeypatch)
    assert run("trust init --owner ml-platform").code == 0
    (key,) = run("trust show --json").json["trust"]["keys"]
    lacking = " ".join(f"--purpose {one}" for one in key["purposes"] if one != "vouching")
    assert run(f"trust add-key {key['publicKey']} {lacking} --replace").code == 0
    told = run(f"verify {name}").out
    assert "may not sign for the purpose vouching" in told
    command = next(line for line in told.splitlines() if "trust add-key" in line).partition("aiinfra trust add-key")[2]
    assert f"--signer-id {key['signerId']} " in command
    assert run(f"trust add-key {command}").code == 0
    assert run("trust show --json").json["trust"]["keys"] == [key]
    assert run(f"verify {name}").code == 0


def test_a_key_that_is_listed_in_another_way_keeps_what_is_not_said_anew(installation: Settings, run: Run) -> None:
    run("trust init")
    public = local.from_base64(local.generate()).public_key.base64
    about = "--owner alice --role security --role ml-lead --environment prod --valid-until 2999-01-01 --signer-id alice-laptop"
    assert run(f"trust add-key {public} --purpose approval {about}").code == 0

    def listed() -> dict[str, object]:
        return next(one for one in run("trust show --json").json["trust"]["keys"] if one["publicKey"] == public)

    first = listed()
    assert run(f"trust add-key {public} --purpose approval --purpose evaluation --replace").code == 0
    assert listed() == first | {"purposes": ["approval", "evaluation"]}
    assert run(f"trust add-key {public} --purpose approval --role docs --environment staging --replace").code == 0
    assert listed() == first | {"roles": ["docs"], "environments": ["staging"]}
    other = local.from_base64(local.generate()).public_key.base64
    assert "--owner NAME" in run(f"trust add-key {other} --purpose approval --replace").error


@pytest.mark.parametrize("configured", [True, False])
def test_a_trust_root_of_other_holders_lists_vouching_where_a_signer_is_configured_for_it(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: bool
) -> None:
    root, vouching = tmp_path / "root.key", tmp_path / "vouching.key"
    for file in (root, vouching):
        file.write_text(local.generate())
        file.chmod(0o600)
    if configured:
        monkeypatch.setenv("AI_INFRA_VOUCHING_SIGNER_URI", f"file:{vouching}?signer-id=people")
    made = run(f"trust init {tmp_path / 'trust'} --root-key file:{root} --targets-key file:{root}")
    assert made.code == 0, made.err
    listed = {key["signerId"]: key["purposes"] for key in run(f"trust show {tmp_path / 'trust'} --json").json["trust"]["keys"]}
    signs = {"test": ["artifact", "evaluation", "promotion", "audit"]}
    assert listed == signs | ({"people": ["vouching"]} if configured else {})


def test_a_production_folder_lists_the_signer_that_vouches_where_one_is_named(run: Run, tmp_path: Path) -> None:
    vouching = tmp_path / "vouching.key"
    vouching.write_text(local.generate())
    vouching.chmod(0o600)
    made = run(f"init --production --out {tmp_path / 'out'} --signer 'vouching=file:{vouching}?signer-id=people' --json")
    assert made.code == 0, made.err
    listed = run(f"trust show {tmp_path / 'out' / 'trust'} --json").json["trust"]["keys"]
    assert [key["purposes"] for key in listed if key["signerId"] == "people"] == [["vouching"]]
    assert f"AI_INFRA_VOUCHING_SIGNER_URI='file:{vouching}?signer-id=people'" in (tmp_path / "out" / "production.env").read_text()
