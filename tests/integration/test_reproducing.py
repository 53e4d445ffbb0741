"""Trainings run again from their provenance: the same bytes, or what differs, file by file, signed and in the history."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from aiinfra_core import artifact_store, database, registering, reproducing, verifying
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.reproduction import Outcome, Reproduction, ReproductionRequest
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, DigestMismatch, EvidenceBroken, RequestIdReused
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.keys import configured_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import attestations, jobs, reproductions
from aiinfra_core.running import executors
from aiinfra_core.settings import Settings
from aiinfra_core.wire.executing import CompleteJob
from tests.simulators import leased_jobs
from tests.simulators.trained_models import Trained, trained

__all__ = ["trained"]

SCORED = "metrics.write_text(json.dumps({'quality': 0.9, 'rows': 4}))"
NOISY = "noise = os.urandom(4).hex(); put(text=noise); metrics.write_text(json.dumps({'quality': 0.9 + int(noise, 16) / 2**40, 'rows': 4}))"


def again(settings: Settings, artifact: Artifact, directory: Path | None = None, **changes: Any) -> Reproduction:
    request = ReproductionRequest(**{"artifact": str(artifact.id), "reproduced_by": "rosa", **changes})
    return reproducing.reproduce(settings, request, on_output=print, directory=directory)


def test_a_training_run_again_gives_the_same_bytes_and_that_is_signed_and_in_the_history(settings: Settings, trained: Trained) -> None:
    artifact = trained(f"put(text=str(inputs['seed'])); {SCORED}")
    made = again(settings, artifact)
    assert (made.outcome, made.reproduced_checksum, made.reproduced_by) == (Outcome.IDENTICAL, artifact.checksum, "rosa")
    report = made.report
    assert (report["files"], report["causes"], report["error"]) == (None, [], None)
    assert (report["trainedBy"], report["independent"]) == ("tara", True)
    assert report["metrics"]["quality"] == {"recorded": 0.9, "reproduced": 0.9, "difference": 0.0, "tolerance": 0.0, "within": True}
    assert report["environment"]["recorded"] == report["environment"]["now"]
    with database.transaction(settings) as tx:
        assert artifact.training_job_id is not None
        training = jobs.get(tx, artifact.training_job_id).attestation
        envelope = attestations.envelope(tx, made.attestation or "")
        told = tx.execute(select(audit_events.c.event_type).order_by(audit_events.c.seq.desc()).limit(1)).scalar_one()
        assert reproductions.of_artifact(tx, artifact.id) == [made]
    key = configured_signer(settings, Purpose.EVALUATION).public_key
    expect(envelope, {key.keyid: key}, claims.of_reproduction(made, artifact, training or ""))
    assert told == "reproduction.checked"
    assert verifying.verify_history(settings).findings == []


def test_it_runs_in_a_directory_of_its_own_which_is_gone_afterwards_unless_it_was_named(
    settings: Settings, trained: Trained, tmp_path: Path
) -> None:
    artifact = trained("put()")
    again(settings, artifact)
    assert [path.name for path in (settings.home / "scratch").iterdir() if path.name.startswith("reproduction")] == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "first").write_text("not to be touched")
    again(settings, artifact, tmp_path / "mine")
    assert (tmp_path / "mine" / "first").read_text() == "not to be touched"
    assert [path.read_text() for path in (tmp_path / "mine").glob("reproduction-*/first/run/output/*")] == ["model"]


def test_an_artifact_derived_from_its_inputs_is_derived_again_by_whoever_trained_it_too(settings: Settings, trained: Trained) -> None:
    made = again(settings, trained("", entry_point=None), reproduced_by="tara")
    assert (made.outcome, made.report["executor"], made.report["independent"]) == (Outcome.IDENTICAL, "deterministic", False)


def test_the_same_request_is_reproduced_once_and_stands_for_nothing_else(settings: Settings, trained: Trained, tmp_path: Path) -> None:
    artifact = trained(f"Path(OUTSIDE, str(time.time_ns())).touch(); {NOISY}")
    first = again(settings, artifact, request_id="mine")
    runs = list((tmp_path / "outside").iterdir())
    assert again(settings, artifact, request_id="mine") == first
    assert list((tmp_path / "outside").iterdir()) == runs
    with pytest.raises(RequestIdReused):
        again(settings, artifact, request_id="mine", tolerances={"quality": 0.1})


def test_other_bytes_are_close_enough_if_each_metric_is_within_its_tolerance(settings: Settings, trained: Trained) -> None:
    artifact = trained(NOISY)
    made = again(settings, artifact, tolerances={"quality": 0.01})
    assert made.outcome is Outcome.WITHIN_TOLERANCE
    assert made.reproduced_checksum != artifact.checksum
    assert made.report["metrics"]["quality"]["tolerance"] == 0.01
    assert made.report["metrics"]["quality"]["within"] is True
    assert again(settings, artifact, tolerances={"rows": 1.0}).outcome is Outcome.DIFFERENT  # quality has no tolerance, and differs


def test_a_tolerance_for_what_was_not_measured_is_refused_before_anything_runs(settings: Settings, trained: Trained) -> None:
    with pytest.raises(BadInput, match="no metric 'quality'"):
        again(settings, trained("put()"), tolerances={"quality": 0.1})


def _made_elsewhere(settings: Settings, code_ref: str, folder: Path, made: bytes) -> Artifact:
    """Let an executor of somebody else's, kim, say that a training made these bytes."""
    leased_jobs.queue(settings, code_ref, 7)
    lease = leased_jobs.claimed(settings, "kim")
    (folder / "made").write_bytes(made)
    stored = artifact_store.put(artifact_store.location(settings), folder / "made", f"elsewhere/{lease.job.id}")
    said = CompleteJob(lease_token=lease.token, artifact_uri=stored.uri, checksum=stored.checksum, metrics={"quality": 0.9, "rows": 4})
    return executors.complete(settings, lease.job.id, said, by="kim")[1]


def test_what_others_say_they_trained_is_checked_here_against_the_code_they_named(
    settings: Settings, code_ref: str, tmp_path: Path
) -> None:
    honest = json.dumps({"weights": [7, 0.9], "hyperparams": {}}, sort_keys=True).encode()
    made = again(settings, _made_elsewhere(settings, code_ref, tmp_path, honest))
    assert (made.outcome, made.report["trainedBy"], made.report["independent"]) == (Outcome.IDENTICAL, "kim", True)


def test_other_bytes_than_the_named_code_makes_are_found_out(settings: Settings, code_ref: str, tmp_path: Path) -> None:
    made = again(settings, _made_elsewhere(settings, code_ref, tmp_path, b'{"weights": [7, 0.95]}'))
    assert (made.outcome, made.report["repeats"], made.report["environment"]["changes"]) == (Outcome.DIFFERENT, True, None)
    assert [(cause["kind"], cause["certainty"]) for cause in made.report["causes"]] == [("packages", "possible")]


def test_a_training_that_fails_the_second_time_is_an_outcome(settings: Settings, trained: Trained) -> None:
    artifact = trained("once = Path(OUTSIDE, 'ran'); put()\nif once.exists(): sys.exit('the data is gone')\nonce.touch()")
    made = again(settings, artifact)
    assert (made.outcome, made.reproduced_checksum) == (Outcome.FAILED, None)
    assert "the data is gone" in made.report["error"]


def test_code_that_is_gone_is_an_outcome(settings: Settings, trained: Trained, tmp_path: Path) -> None:
    artifact = trained("put()")
    (tmp_path / "source").rename(tmp_path / "moved")
    made = again(settings, artifact)
    assert made.outcome is Outcome.FAILED
    assert str(tmp_path / "source") in made.report["error"]


def test_without_the_registered_bytes_only_digests_are_compared_and_with_changed_ones_nothing_is(
    settings: Settings, trained: Trained
) -> None:
    artifact = trained(NOISY)
    stored = Path(artifact.artifact_uri.removeprefix("file://"))
    content = stored.read_bytes()
    stored.unlink()
    made = again(settings, artifact)
    assert (made.outcome, made.report["files"]) == (Outcome.DIFFERENT, {"kept": False, "different": [], "more": 0})
    stored.write_bytes(content + b"!")
    with pytest.raises(DigestMismatch):
        again(settings, artifact)


def test_a_model_without_provenance_cannot_be_reproduced(settings: Settings, trained: Trained) -> None:
    known = trained("put()")
    request = RegistrationRequest(model="bought", artifact_uri=known.artifact_uri, checksum=known.checksum, registered_by="rita")
    with pytest.raises(BadInput, match="no provenance"):
        again(settings, registering.register(settings, request))


def test_a_provenance_that_was_changed_is_not_followed(settings: Settings, database_url: str, trained: Trained) -> None:
    artifact = trained("put()")
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE training_jobs DISABLE TRIGGER USER")
        owner.execute("UPDATE training_jobs SET seed = 8")
    with pytest.raises(EvidenceBroken):
        again(settings, artifact)
