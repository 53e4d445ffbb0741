"""Rotated, expired, misused and compromised keys, and approvals, in an export: what counts is when and where the log took something in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from aiinfra_core import database, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import Evaluation, EvaluationKind
from aiinfra_core.domain.trust import Compromise, Purpose, Trust, TrustedKey
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evaluating import judged
from aiinfra_core.evidence import claims, trust_editing
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import loaded_signer
from aiinfra_core.registry import evaluations, scans
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.signing.local import LocalSigner
from aiinfra_core.trusting import changing
from tests.simulators import exports
from tests.simulators.exports import (
    ROOT_KEY,
    TARGETS_KEY,
    Known,
    checked,
    copied,
    directory_model,
    exported,
    problems,
    promoted,
    signed_again,
    trained,
    trusted,
    with_trust,
)

known = exports.known
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def _changed(known: Known, folder: Path, edit: Callable[[Trust], Trust]) -> list[str]:
    """Return what is found in an export under a trust that was changed since, as the auditor with the newest trust sees the old story."""
    export = copied(known.export, folder / "export")
    trust_folder = folder / "trust"
    trust_folder.mkdir()
    for path in (export / "trust").iterdir():
        (trust_folder / path.name).write_bytes(path.read_bytes())
    changing.change(trust_folder, edit, TARGETS_KEY)
    for name in ("targets.json", "trust.json"):
        (export / "trust" / name).write_bytes((trust_folder / name).read_bytes())
    return problems(checked(signed_again(export, known.settings), known.pinned))


def _own(known: Known) -> TrustedKey:
    return trusted(_signer(known.settings))


def _signer(settings: Settings) -> LocalSigner:
    signer = loaded_signer(settings, Purpose.AUDIT)
    assert isinstance(signer, LocalSigner)
    return signer


def _listed(known: Known, **changes: object) -> Callable[[Trust], Trust]:
    entry = TrustedKey.model_validate({**_own(known).model_dump(), **changes})
    return lambda trust: trust_editing.with_key(trust, entry, replace=True)


def test_a_key_not_valid_when_the_log_took_its_work_in_counts_for_nothing(known: Known, tmp_path: Path) -> None:
    found = _changed(known, tmp_path, _listed(known, valid_until=PAST))
    assert {one.split()[0] for one in found} >= {"9"}


def test_a_key_that_ended_afterwards_still_counts_for_what_it_signed(known: Known, tmp_path: Path) -> None:
    assert _changed(known, tmp_path, _listed(known, valid_until=datetime.now(UTC) + timedelta(hours=1))) == []


@pytest.mark.parametrize(
    ("purposes", "step"),
    [
        ((Purpose.AUDIT, Purpose.ARTIFACT, Purpose.EVALUATION), "4"),
        ((Purpose.AUDIT, Purpose.ARTIFACT, Purpose.PROMOTION), "4"),
        ((Purpose.ARTIFACT, Purpose.EVALUATION, Purpose.PROMOTION), "9"),
    ],
)
def test_a_key_without_the_purpose_counts_for_nothing(known: Known, tmp_path: Path, purposes: tuple[Purpose, ...], step: str) -> None:
    assert step in {one.split()[0] for one in _changed(known, tmp_path, _listed(known, purposes=purposes))}


def test_a_key_for_another_environment_does_not_promote(known: Known, tmp_path: Path) -> None:
    found = _changed(known, tmp_path, _listed(known, environments=("staging",)))
    assert any(one.startswith("4 ") and "may not sign for the environment prod" in one for one in found)


def test_a_compromise_counts_from_its_place_in_the_log_whatever_time_is_claimed(known: Known, tmp_path: Path) -> None:
    def compromised(index: int) -> list[str]:
        compromise = Compromise(reported_at=PAST, reason="lost", bad_from_index=index)
        folder = tmp_path / str(index)
        folder.mkdir()
        return _changed(known, folder, lambda trust: trust_editing.compromised(trust, _own(known).keyid, compromise))

    everything = compromised(0)
    assert any(one.startswith("9 ") for one in everything)
    # What the log held before is as good as it was; the export itself, which no log took in, has to be signed anew by another key.
    later = compromised(10_000)
    assert {one.split(":")[0] for one in later} == {"4 export.dsse.json", "13 export.dsse.json"}


def test_newer_trust_files_than_the_exports_own_are_believed_instead(known: Known, tmp_path: Path) -> None:
    newer = tmp_path / "trust"
    newer.mkdir()
    for path in (known.export / "trust").iterdir():
        (newer / path.name).write_bytes(path.read_bytes())
    after_expiry = datetime.now(UTC) + timedelta(days=120)
    assert any("expired" in one for one in problems(checked(known.export, known.pinned, now=after_expiry)))
    changing.change(newer, lambda trust: trust, TARGETS_KEY, days=300, renew=True)
    renewed = {path.name: path.read_bytes() for path in newer.iterdir()}
    assert checked(known.export, known.pinned, now=after_expiry, trust=renewed).passed
    lost = Compromise(reported_at=PAST, reason="lost", bad_from_index=0)
    changing.change(newer, lambda trust: trust_editing.compromised(trust, _own(known).keyid, lost), TARGETS_KEY)
    revoked = {path.name: path.read_bytes() for path in newer.iterdir()}
    assert not checked(known.export, known.pinned, trust=revoked).passed


def test_a_rotated_key_leaves_what_it_signed_and_a_new_one_goes_on(settings: Settings, tmp_path: Path) -> None:
    seed = local.generate()
    new = local.from_base64(seed, "new")
    first = with_trust(settings, trusted(new))
    promoted(first, trained(first))
    key = tmp_path / "new.key"
    key.write_text(seed)
    key.chmod(0o600)
    second = first.model_copy(update={"signer_key_b64": None, "signer_id": "new", "signer_uri": f"file:{key}"})
    promoted(second, trained(second, seed=2))
    assert second.trust_root is not None
    now = datetime.now(UTC)
    changing.change(second.trust_root.parent, lambda trust: trust_editing.retired(trust, _signer(first).public_key.keyid, now), TARGETS_KEY)
    report = checked(exported(second, "rainfall@prod", tmp_path / "out"), second.trust_root)
    assert problems(report) == []
    assert report.story is not None
    assert {signer.signer_id for claim in report.story.claims.values() for signer in claim.signers} == {"test", "new"}


def test_a_rotated_root_leads_from_the_one_that_was_pinned(known: Known, tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    folder.mkdir()
    for path in (known.export / "trust").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    changing.rotate_root(folder, lambda plan: plan, [ROOT_KEY], None)
    newest = known.settings.model_copy(update={"trust_root": folder / "1.root.json"})
    export = exported(newest, "rainfall@prod", tmp_path / "out")
    for pinned in ("1.root.json", "2.root.json"):
        assert problems(checked(export, folder / pinned)) == [], pinned
    (export / "trust" / "2.root.json").unlink()
    assert not checked(export, folder / "2.root.json").passed


def test_a_log_that_the_trust_root_does_not_list_proves_nothing(known: Known, tmp_path: Path) -> None:
    found = _changed(known, tmp_path, lambda trust: trust.model_copy(update={"logs": ("another.example/log",)}))
    assert [one for one in found if "does not list" in one]


def test_a_row_and_its_event_that_say_otherwise_than_was_signed_are_found_by_every_check(settings: Settings, tmp_path: Path) -> None:
    trusting = with_trust(settings)
    artifact = directory_model(trusting, tmp_path)
    with database.autocommit(trusting) as connection:
        (known,) = scans.of_artifact(connection, artifact.id)
        signed = known.model_copy(update={"id": uuid4(), "scanned_by": "rita", "created_at": datetime.now(UTC)})
        statement = attest(claims.of_scan(signed, artifact), loaded_signer(trusting, Purpose.ARTIFACT))
        scans.record(connection, artifact, signed.model_copy(update={"scanned_by": "rick"}), statement)
    sequence_pending(trusting, loaded_signer(trusting, Purpose.AUDIT))
    (found,) = verifying.verify_history(trusting).findings
    assert found.problem == "scanned_by is not what its envelope says"
    _, steps = verifying.verify_model(trusting, "rainfall")
    assert [step.name for step in steps if not step.passed] == ["history", f"scan ({signed.verdict})"]
    with pytest.raises(EvidenceBroken, match="step 8, inputs: log row: scanned_by in events/"):
        exported(trusting, "rainfall", tmp_path / "out")


def test_a_row_of_the_log_that_says_otherwise_than_was_signed_is_found_and_its_column_named(settings: Settings, tmp_path: Path) -> None:
    trusting = with_trust(settings)
    artifact = directory_model(trusting, tmp_path)
    at = artifact.created_at
    with database.transaction(trusting) as tx:
        scored = judged(artifact, EvaluationKind.CLAIMED, {"q": 1}).model_dump()
        evaluation = Evaluation(id=uuid4(), artifact_id=artifact.id, recorded_by="rita", created_at=at, **scored)
        statement = attest(claims.of_evaluation(artifact, evaluation, ()), loaded_signer(trusting, Purpose.EVALUATION))
        evaluations.record(tx, artifact, evaluation.model_copy(update={"recorded_by": "rick"}), statement)
    with pytest.raises(EvidenceBroken, match="step 8, inputs: log row: recorded_by in events/"):
        exported(trusting, "rainfall", tmp_path / "out")
