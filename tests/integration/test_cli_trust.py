"""The `trust` commands as a person types them: in development with one command, for real with several people, and what is refused."""

import json
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiinfra_core import canonical_json
from aiinfra_core.evidence import trust_editing
from aiinfra_core.evidence.trust_root import parse_trust
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.signing.public_key import PublicKey
from tests.simulators import command_line
from tests.simulators.command_line import Run
from tests.simulators.trust_files import changed

installation, registered, repository, run = command_line.installation, command_line.registered, command_line.repository, command_line.run


def key_file(tmp_path: Path, name: str) -> tuple[str, PublicKey]:
    """Make a key file; return its URI and public key."""
    path = tmp_path / f"{name}.key"
    path.write_text(f"{local.generate()}\n")
    path.chmod(0o600)
    return f"file:{path}", local.from_base64(local.read_key_file(path)).public_key


@pytest.fixture
def ceremony(tmp_path: Path, run: Run) -> Path:
    """Make a trust root of Alice, Bob and Carol, two of whom must sign; give its directory."""
    uris = {name: key_file(tmp_path, name)[0] for name in ("alice", "bob", "carol", "targets")}
    keys = " ".join(f"--root-key {uris[name]}" for name in ("alice", "bob", "carol"))
    made = run(f"trust init {tmp_path / 'trust'} {keys} --threshold 2 --targets-key {uris['targets']}")
    assert made.code == 0, made.err
    return tmp_path / "trust"


def test_in_development_one_command_makes_a_trust_root_that_is_used_from_then_on(
    installation: Settings, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("trust init")
    assert (made.code, made.out.splitlines()[-1]) == (0, "Next: aiinfra trust publish")
    assert stat.S_IMODE((home / "development-root.key").stat().st_mode) == 0o600
    shown = run("trust show --json").json
    listed = shown["trust"]["keys"]
    assert [(key["keyid"], key["signerId"], key["purposes"]) for key in listed] == [
        (run("keys show --json").json["keyid"], "test", ["artifact", "evaluation", "promotion", "audit", "vouching"])
    ]
    assert shown["trust"]["logs"] == ["ai-infra.local/audit"]
    assert (shown["root"]["version"], shown["root"]["threshold"], shown["targets"]["version"], shown["waiting"]) == (1, 1, 1, None)
    assert run("trust init").error.startswith(f"{home / 'trust'} holds a trust root already")
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", local.generate())
    refused = run("register --model rain " + str(home / "development-root.key"))
    assert (refused.code, "must not sign for the purpose artifact" in refused.error) == (6, True)
    command = refused.error.rpartition("List it with: aiinfra ")[2]
    assert run(command).code == 0
    assert run("register --model rain " + str(home / "development-root.key")).code == 0


def test_the_whole_story_goes_on_as_usual_under_a_trust_root_and_is_published_once(
    installation: Settings, run: Run, registered: dict[str, object], tmp_path: Path
) -> None:
    assert run("trust init").code == 0
    assert run("promote rain --to staging --metric quality=0.9").code == 0
    assert run("verify rain@staging").code == 0
    first = run("trust publish --json").json
    assert (first["first"], first["event"], first["root"], first["targets"]) == (True, "key.rotated", 1, 1)
    assert run("trust publish --json").json == first | {"first": False}
    assert sorted(path.name for path in (tmp_path / "artifacts" / "trust").iterdir() if len(path.name) < 64) == [
        "1.root.json",
        "1.targets.json",
    ]
    keyid = run("keys show --json").json["keyid"]
    assert run(f"trust revoke {keyid[:8]} --reason stolen --bad-from-index 10000").code == 0
    assert "compromised from entry 10000: stolen" in run("trust show").out
    refused = run("trust publish")
    assert (refused.code, "must not sign for the purpose audit" in refused.error) == (6, True)
    assert not (tmp_path / "artifacts" / "trust" / "2.targets.json").exists()


def test_publishing_an_older_or_another_trust_root_is_refused(installation: Settings, run: Run, home: Path, tmp_path: Path) -> None:
    run("trust init")
    shutil.copytree(home / "trust", tmp_path / "older")
    run("trust renew")
    assert run("trust publish").code == 0
    refused = run(f"trust publish {tmp_path / 'older'}")
    assert (refused.code, "targets version 2 is published already, and this is 1" in refused.error) == (2, True)
    run(f"trust renew {tmp_path / 'older'} --targets-key file:{home / 'development-root.key'} --days 7")
    other = run(f"trust publish {tmp_path / 'older'}")
    assert (other.code, "holds other bytes" in other.error) == (2, True)


def test_root_keys_of_three_people_of_whom_two_must_sign(ceremony: Path, run: Run) -> None:
    shown = run(f"trust show {ceremony} --json").json
    assert (shown["root"]["threshold"], len(shown["root"]["keys"]), shown["trust"]["keys"]) == (2, 3, [])


def test_signatures_of_people_who_are_not_in_one_place_are_collected(run: Run, tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    (alice, _), (bob, bob_key), (targets, _) = (key_file(tmp_path, name) for name in ("alice", "bob", "targets"))
    made = run(f"trust init {trust} --root-key {alice} --root-key {bob_key.base64} --threshold 2 --targets-key {targets}")
    assert made.code == 0
    assert f"1 more of root 1's keys must sign it, of {bob_key.keyid[:16]}" in made.out
    assert made.out.splitlines()[-1] == f"Next: aiinfra trust sign {trust} --key URI"
    assert not (trust / "1.root.json").exists()
    assert run(f"trust add-key {bob_key.base64} {trust} --purpose audit --targets-key {targets}").code == 2
    assert "is no root key" in run(f"trust sign {trust} --key {targets}").error
    signed = run(f"trust sign {trust} --key {bob} --json").json
    assert (signed["root"]["version"], signed["waiting"]) == (1, None)
    assert run(f"trust sign {trust} --key {bob}").code == 2


def test_a_root_is_rotated_by_old_and_new_keys_with_a_new_targets_key(ceremony: Path, run: Run, tmp_path: Path) -> None:
    (dave, dave_key), (new, _) = key_file(tmp_path, "dave"), key_file(tmp_path, "new-targets")
    alice = run(f"trust show {ceremony} --json").json["root"]["keys"][0]
    line = f"trust rotate-root {ceremony} --add-key {dave_key.base64} --remove-key {alice[:8]} --targets-key {new}"
    waiting = run(f"{line} --root-key file:{tmp_path / 'alice.key'} --json").json
    assert waiting["root"]["version"] == 1
    assert [(it["root"], it["signatures"]) for it in waiting["waiting"]["lacking"]] == [(1, 1), (2, 2)]
    assert run(line).code == 2
    assert (ceremony / "pending" / "2.root.json").exists()
    half = run(f"trust sign {ceremony} --key file:{tmp_path / 'bob.key'} --json").json
    assert [(it["root"], it["canSign"].count(dave_key.keyid)) for it in half["waiting"]["lacking"]] == [(2, 1)]
    unsigned = run(f"trust sign {ceremony} --key {dave}")
    assert "must sign targets.json" in unsigned.out
    assert run(f"trust show {ceremony} --json").json["root"]["version"] == 1
    done = run(f"trust sign {ceremony} --key {dave} --targets-key {new} --json").json
    assert (done["root"]["version"], done["targets"]["version"], done["waiting"]) == (2, 2, None)
    old = run(f"trust renew {ceremony} --targets-key file:{tmp_path / 'targets.key'}")
    assert (old.code, "is not the root's targets key" in old.error) == (2, True)
    assert run(f"trust renew {ceremony} --targets-key {new}").code == 0


def test_what_expires_soon_is_told_and_what_has_expired_signs_nothing(installation: Settings, run: Run, home: Path) -> None:
    run("trust init --targets-days 3 --root-days 400")
    warned = run("trust show")
    assert warned.err.count("renew it with: aiinfra trust renew") == 1
    assert "renew it" not in run("trust renew").err


def test_an_expired_trust_root_refuses_with_the_way_out_and_can_be_renewed(
    installation: Settings, run: Run, home: Path, repository: Path
) -> None:
    run("trust init")
    own = local.from_base64(local.read_key_file(home / "development-root.key"))
    trust = parse_trust((home / "trust" / "trust.json").read_bytes())
    for name, data in trust_editing.signed_targets(trust, 2, datetime.now(UTC) - timedelta(seconds=5), own).items():
        (home / "trust" / name).write_bytes(data)
    assert run("keys show").code == 0
    line = f"register --model rain {repository / 'train.py'}"
    refused = run(line)
    assert (refused.code, "targets.json expired" in refused.error, "aiinfra trust renew" in refused.error) == (6, True, True)
    assert "targets.json expired on" in run("trust show").err
    assert run("trust renew").code == 0
    assert run(line).code == 0


def test_a_tampered_trust_root_is_broken_evidence_and_signs_nothing(installation: Settings, run: Run, home: Path, repository: Path) -> None:
    run("trust init")
    targets = home / "trust" / "targets.json"
    targets.write_bytes(changed(targets.read_bytes(), version=9))
    refused = run(f"register --model rain {repository / 'train.py'}")
    assert (refused.code, refused.error.startswith("trust root: targets.json is signed by 0 of the 1")) == (5, True)
    for line in ("trust show", "trust renew", "trust publish"):
        assert run(line).code == 5


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("trust init here --threshold 2", "Name who holds this trust root"),
        ("trust init --root-days 0", "--root-days takes 1 to 3650 days"),
        ("trust init here --root-key nonsense --targets-key file:x", "is no key"),
        ("trust init here --root-key file:missing --targets-key file:missing", "cannot be read"),
        ("trust show nowhere", "holds no trust root"),
        ("trust sign nowhere --key file:x", "cannot be read"),
        ("trust publish nowhere", "make one with: aiinfra trust init"),
        ("trust renew", "Name the signer of targets.json"),
        ("trust revoke abc --reason x", "Name the signer of targets.json"),
        ("trust add-key nonsense --purpose audit", "is no key"),
        ("trust require prod --role security", "--role takes ROLE=N"),
        ("trust require prodd --role security=1", "There is no environment 'prodd'; known are staging, prod."),
        ("trust require prod --role security=1 --since soon", "--since takes a time"),
        ("trust add-key PUBLIC --purpose approval", "Say who approves"),
        ("trust add-key PUBLIC --purpose audit --valid-from soon", "--valid-from takes a time"),
        ("trust add-key PUBLIC --purpose audit --environment NO", "environments"),
    ],
)
def test_what_is_typed_wrong_is_told_in_a_line_and_changes_nothing(
    installation: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(line.replace("PUBLIC", key_file(tmp_path, "somebody")[1].base64))
    assert (refused.code in (2, 6), says in refused.error) == (True, True), refused.err
    assert not (tmp_path / "here").exists()
    assert not (tmp_path / "nowhere").exists()


def test_in_production_nothing_is_filled_in(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_ENV", "production")
    for line in ("trust init", "trust show", "trust renew"):
        assert run(line).code in (2, 6)


def test_json_is_one_value_with_the_names_of_trust_json(ceremony: Path, run: Run, tmp_path: Path) -> None:
    _, key = key_file(tmp_path, "approver")
    typed = f"trust add-key {key.base64} {ceremony} --purpose approval --owner ann --role security --environment prod"
    shown = run(f"{typed} --valid-until 2030-01-01 --targets-key file:{tmp_path / 'targets.key'} --json").json
    assert shown["trust"]["keys"] == [
        {
            "keyid": key.keyid,
            "publicKey": key.base64,
            "signerId": f"ed25519:{key.keyid[:16]}",
            "owner": "ann",
            "roles": ["security"],
            "purposes": ["approval"],
            "environments": ["prod"],
            "validFrom": None,
            "validUntil": "2030-01-01T00:00:00Z",
            "compromise": None,
        }
    ]
    assert canonical_json.loads((ceremony / "trust.json").read_bytes())["keys"][0]["owner"] == "ann"
    asked = run(f"trust require prod {ceremony} --role security=2 --targets-key file:{tmp_path / 'targets.key'} --json")
    assert json.loads(asked.out)["trust"]["thresholds"] == {"prod": {"security": 2}}
    assert "prod asks for 2 of the role security, but 1 can approve" in asked.err
    before = datetime.now(UTC)
    later = run(f"trust require production {ceremony} --role security=1 --since now --targets-key file:{tmp_path / 'targets.key'} --json")
    begins = json.loads(later.out)["trust"]["thresholdsSince"]["prod"]
    assert before <= datetime.fromisoformat(begins) <= datetime.now(UTC)
    assert f"1 security, for what is applied from {begins[:19]}" in run(f"trust show {ceremony}").out
