"""Exports of real models from a real database, verified as an auditor would: with the directory and one pinned root alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aiinfra_core import database, evaluating, merkle
from aiinfra_core.audit_log import checkpoints, tiles
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, EvidenceBroken, NotFound
from aiinfra_core.evidence import bundle, checkpoint
from aiinfra_core.evidence.verification.report import Outcome, Step
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests.simulators import exports
from tests.simulators.exports import Known, checked, directory_model, exported, problems, promoted, trained, with_trust

known = exports.known


@pytest.fixture
def trusting(settings: Settings) -> Settings:
    """Give settings with a trust root of this test's own."""
    return with_trust(settings)


def _pinned(settings: Settings) -> Path:
    assert settings.trust_root is not None
    return settings.trust_root


def _outcomes(steps: dict[int, Step]) -> dict[int, str]:
    return {number: step.outcome.value for number, step in steps.items()}


def test_an_export_verifies_with_the_pinned_root_alone_and_says_what_was_proven(known: Known) -> None:
    report = checked(known.export, known.pinned)
    assert problems(report) == []
    assert report.passed
    about = report.about()
    assert about is not None
    assert (about["model"], about["version"], about["environment"], about["sequence"]) == ("rainfall", 1, "prod", 3)
    assert {number for number, outcome in _outcomes(report.steps).items() if outcome != "pass"} == {5, 10, 12, 14}


def test_an_export_holds_the_promotions_of_its_model_and_of_no_other(known: Known) -> None:
    report = checked(known.export, known.pinned)
    assert report.story is not None
    assert [(one.model, one.said.environment, one.said.sequence, one.version) for one in report.story.manifests()] == [
        ("rainfall", "prod", 1, 1),
        ("rainfall", "prod", 2, 2),
        ("rainfall", "prod", 3, 1),
    ]
    about = json.loads((known.export / bundle.BOM).read_bytes())
    assert about["metadata"]["component"]["name"] == "rainfall"
    assert len(list((known.export / "training").iterdir())) == 2


def test_verifying_imports_neither_database_nor_network_nor_settings(known: Known) -> None:
    code = (
        "import sys; from aiinfra_core.cli.app import main; code = main(sys.argv[1:]); "
        "loaded = sys.modules.keys() & {'sqlalchemy', 'psycopg', 'httpx', 'prefect', 's3fs', 'fsspec', 'botocore', 'pydantic_settings', "
        "'aiinfra_core.settings', 'aiinfra_core.database', 'cyclonedx'}; print(sorted(loaded), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "verify", str(known.export), "--trust-root", str(known.pinned), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "AI_INFRA_DATABASE_URL": "nonsense"})
    assert (ended.returncode, ended.stderr.strip()) == (0, "[]")
    assert json.loads(ended.stdout)["verified"] is True


def test_a_directory_without_provenance_and_never_promoted_verifies_and_says_so(trusting: Settings, tmp_path: Path) -> None:
    directory_model(trusting, tmp_path)
    folder = exported(trusting, "rainfall", tmp_path / "out")
    report = checked(folder, _pinned(trusting))
    assert problems(report) == []
    assert report.passed
    assert [number for number, outcome in _outcomes(report.steps).items() if outcome != "pass"] == [5, 7, 10, 11, 12, 14]
    assert "without provenance" in report.steps[8].detail
    sums = subprocess.run(["sha256sum", "--strict", "-c", "../SHA256SUMS"], cwd=folder / "model", capture_output=True, check=True)
    assert sums.stdout.count(b": OK") == 3


def test_a_version_is_exported_with_every_environment_it_was_in_up_to_its_last_promotion_there(trusting: Settings, tmp_path: Path) -> None:
    first, second = trained(trusting), trained(trusting, seed=2)
    evaluating.record_measured(trusting, first.id)
    for artifact, environment in ((first, "staging"), (second, "staging"), (first, "prod"), (second, "prod"), (second, "staging")):
        promoted(trusting, artifact, environment, quality=0.9 if environment == "prod" else 0.8 + artifact.version / 100)
    report = checked(exported(trusting, "rainfall:1", tmp_path / "out"), _pinned(trusting))
    assert problems(report) == []
    assert report.story is not None
    assert [(one.said.environment, one.said.sequence) for one in report.story.manifests()] == [("prod", 1), ("staging", 1)]
    about = report.about()
    assert about is not None
    assert (about["environment"], about["sequence"]) == (None, None)


def test_what_is_current_is_proven_only_by_a_fresh_export_about_an_environment(known: Known, tmp_path: Path) -> None:
    day = timedelta(hours=24)
    assert checked(known.export, known.pinned, max_age=day).passed
    later = checked(known.export, known.pinned, max_age=day, now=datetime.now(UTC) + timedelta(hours=25))
    assert [step.number for step in later.steps.values() if step.failed] == [12]
    earlier = checked(known.export, known.pinned, max_age=day, now=datetime.now(UTC) - timedelta(hours=1))
    assert [step.number for step in earlier.steps.values() if step.failed] == [12]
    version = exported(known.settings, "rainfall:2", tmp_path / "version")
    assert [step.number for step in checked(version, known.pinned, max_age=day).steps.values() if step.failed] == [12]


def test_the_log_continues_the_checkpoint_of_an_earlier_export(known: Known) -> None:
    seen = (known.older / bundle.CHECKPOINT).read_bytes()
    report = checked(known.export, known.pinned, last_checkpoint=seen, last_targets=(known.older / "trust/targets.json").read_bytes())
    assert report.passed
    assert report.steps[10].outcome is Outcome.PASS
    same = checked(known.export, known.pinned, last_checkpoint=(known.export / bundle.CHECKPOINT).read_bytes())
    assert same.steps[10].outcome is Outcome.PASS


def test_an_older_export_is_not_taken_for_a_newer_one(known: Known) -> None:
    seen = (known.export / bundle.CHECKPOINT).read_bytes()
    report = checked(known.older, known.pinned, last_checkpoint=seen)
    assert [step.number for step in report.steps.values() if step.failed] == [10]
    assert "older, or cut" in report.steps[10].detail


@pytest.mark.parametrize("size", [-1, 0])
def test_a_log_that_was_forked_is_found_by_the_checkpoint_seen_before(known: Known, size: int) -> None:
    head = checkpoint.parse((known.export if size == 0 else known.older).joinpath(bundle.CHECKPOINT).read_bytes())
    seen = checkpoint.sign(replace(head, root=merkle.EMPTY_ROOT), audit_signer(known.settings))
    report = checked(known.export, known.pinned, last_checkpoint=seen)
    assert [step.number for step in report.steps.values() if step.failed] == [10]
    assert not report.passed


def test_a_proof_from_any_earlier_checkpoint_can_be_asked_for(known: Known, tmp_path: Path) -> None:
    head = checkpoint.parse((known.older / bundle.CHECKPOINT).read_bytes())
    with database.snapshot(known.settings) as tx:
        odd = replace(head, size=head.size - 1, root=merkle.root_at(head.size - 1, tiles.reader(tx)))
    seen = checkpoint.sign(odd, audit_signer(known.settings))
    without = checked(known.export, known.pinned, last_checkpoint=seen)
    assert "--since" in without.steps[10].detail
    folder = exported(known.settings, "rainfall@prod", tmp_path / "out", since=seen)
    assert checked(folder, known.pinned, last_checkpoint=seen).steps[10].outcome is Outcome.PASS


def test_a_checkpoint_of_another_log_or_another_past_exports_nothing(known: Known, tmp_path: Path) -> None:
    head = checkpoint.parse((known.older / bundle.CHECKPOINT).read_bytes())
    signer = audit_signer(known.settings)
    for wrong, error in (
        (checkpoint.sign(replace(head, origin="another.example/log"), signer), BadInput),
        (checkpoint.sign(replace(head, root=merkle.EMPTY_ROOT), signer), EvidenceBroken),
        (checkpoint.sign(replace(head, size=10**6), signer), EvidenceBroken),
        (b"no checkpoint", BadInput),
    ):
        with pytest.raises(error):
            exported(known.settings, "rainfall", tmp_path / "out", since=wrong)
    assert list(tmp_path.glob("*out*")) == []


def test_an_older_trust_is_not_taken_for_a_newer_one(known: Known, tmp_path: Path) -> None:
    newer = json.loads((known.export / "trust/targets.json").read_bytes())
    newer["signed"]["version"] = 2
    report = checked(known.export, known.pinned, last_targets=json.dumps(newer).encode())
    assert [step.number for step in report.steps.values() if step.failed] == [1]
    newer["signed"] |= {"version": 1, "expires": "2040-01-01T00:00:00Z"}
    other = checked(known.export, known.pinned, last_targets=json.dumps(newer).encode())
    assert "under the same version" in other.steps[1].detail


def test_another_trust_root_proves_nothing_and_the_steps_that_lean_on_it_say_so(known: Known, tmp_path: Path) -> None:
    other = with_trust(known.settings.model_copy(update={"home": tmp_path}))
    report = checked(known.export, _pinned(other))
    assert not report.passed
    assert report.steps[1].failed
    assert report.steps[3].detail == "step 1 failed"
    assert report.about() is None


def test_an_expired_trust_root_proves_nothing(known: Known) -> None:
    report = checked(known.export, known.pinned, now=datetime.now(UTC) + timedelta(days=100))
    assert "expired" in report.steps[1].detail


def test_nothing_is_exported_without_a_trust_root_or_onto_something_that_is_there(known: Known, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="aiinfra trust init"):
        exported(known.settings.model_copy(update={"trust_root": None}), "rainfall", tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(Conflict, match="exists"):
        exported(known.settings, "rainfall", tmp_path / "there")
    with pytest.raises(NotFound):
        exported(known.settings, "nothing@prod", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        exported(known.settings, "rainfall", tmp_path / "file" / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if "home" not in path.name) == ["file", "there"]


def test_bytes_that_were_changed_in_the_store_are_never_handed_out(trusting: Settings, tmp_path: Path) -> None:
    artifact = trained(trusting)
    stored = Path(artifact.artifact_uri.removeprefix("file://"))
    stored.chmod(0o644)
    stored.write_bytes(b"other weights")
    with pytest.raises(DigestMismatch):
        exported(trusting, "rainfall", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_an_export_that_would_not_verify_is_never_handed_out(trusting: Settings, tmp_path: Path) -> None:
    trained(trusting)
    assert trusting.database_url is not None
    with psycopg.connect(trusting.database_url.get_secret_value()) as tx:
        tx.execute("SET LOCAL session_replication_role = replica")
        tx.execute("UPDATE audit_events SET metadata = '{\"forged\": 1}' WHERE event_type = 'artifact.registered'")
    with pytest.raises(EvidenceBroken):
        exported(trusting, "rainfall", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_an_openssf_signature_is_made_where_there_is_a_key_for_it(known: Known, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    folder = exported(known.settings.model_copy(update={"openssf_key": file}), "rainfall", tmp_path / "out")
    assert checked(folder, known.pinned).passed
    assert (folder / bundle.OPENSSF).exists()
    assert (folder / bundle.OPENSSF_KEY).read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")


def test_an_export_waits_for_events_that_are_not_chained_yet(trusting: Settings, tmp_path: Path) -> None:
    artifact = trained(trusting)
    first = checkpoints.checkpoint(trusting, audit_signer(trusting))
    promoted(trusting, artifact)
    report = checked(exported(trusting, "rainfall@prod", tmp_path / "out"), _pinned(trusting))
    assert first is not None
    assert report.log is not None
    assert report.log.checkpoint.size > first.size
    assert str(first.size) in {path.name for path in (tmp_path / "out" / "consistency").iterdir()}
