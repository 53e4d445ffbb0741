"""What is stated about what was stated before: every field of reproduction, approval, export and rollback, and how long a name may be."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.predicates import PROMOTION_EXTENSION, Promotion
from aiinfra_core.evidence.statement import Subject
from tests.simulators.sample_statements import (
    DOCUMENT,
    HEX,
    ID,
    MOMENT,
    WRITTEN,
    approval,
    evaluation,
    export,
    imported,
    promotion,
    registration,
    reproduction,
    scan,
    tombstone,
    vouched_approval,
    vouched_withdrawal,
    withdrawal,
)

OTHER = "cd" * 32
ORIGIN = "aiinfra.example/log"
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,127}", fullmatch=True)
ACTORS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=256)


def claim(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["subject"] == [{"name": "rainfall", "digest": {"sha256": HEX}}]
    predicate: dict[str, Any] = value["predicate"]
    return predicate


def test_a_reproduction_is_stated_in_full() -> None:
    assert json.loads(reproduction())["predicateType"] == "urn:ai-infra:attestation:reproduction:v1"
    assert claim(reproduction(outcome="within_tolerance", reproduced_checksum=OTHER)) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "trainingAttestation": HEX,
        "outcome": "within_tolerance",
        "reproducedChecksum": OTHER,
        "reportDigest": HEX,
        "reproducedBy": "ada",
        "startedOn": WRITTEN,
        "finishedOn": WRITTEN,
    }


def test_an_approval_is_stated_in_full() -> None:
    assert json.loads(approval())["predicateType"] == "urn:ai-infra:attestation:approval:v1"
    assert claim(approval()) == {
        "promotionId": str(ID),
        "model": "rainfall",
        "environment": "prod",
        "manifest": HEX,
        "approver": "grace",
        "approvedAt": WRITTEN,
        "expiresAt": WRITTEN.replace("03-01", "03-02"),
    }


def test_a_vouched_approval_also_says_who_named_the_approver_and_with_which_roles() -> None:
    assert json.loads(vouched_approval())["predicateType"] == "urn:ai-infra:attestation:vouched-approval:v1"
    assert claim(vouched_approval()) == claim(approval()) | {
        "approver": "lin",
        "roles": ["ml-lead", "security"],
        "issuer": "https://login.example",
    }


def test_a_withdrawal_is_stated_in_full_with_who_named_those_who_have_no_key() -> None:
    assert json.loads(withdrawal())["predicateType"] == "urn:ai-infra:attestation:withdrawal:v1"
    assert claim(withdrawal()) == {
        "approval": HEX,
        "promotionId": str(ID),
        "model": "rainfall",
        "environment": "prod",
        "manifest": HEX,
        "withdrawnBy": "grace",
        "withdrawnAt": WRITTEN,
    }
    assert json.loads(vouched_withdrawal())["predicateType"] == "urn:ai-infra:attestation:vouched-withdrawal:v1"
    assert claim(vouched_withdrawal()) == claim(withdrawal()) | {"issuer": "https://login.example"}


def test_a_scan_is_stated_in_full() -> None:
    assert json.loads(scan())["predicateType"] == "urn:ai-infra:attestation:scan:v1"
    assert claim(scan()) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "scanner": "picklescan 1.0.4",
        "verdict": "safe",
        "findingsDigest": HEX,
        "scannedBy": "ada",
        "scannedAt": WRITTEN,
    }


def test_only_an_evaluation_that_was_run_names_what_was_run() -> None:
    assert claim(evaluation(spec_digest=HEX)) == claim(evaluation()) | {"specDigest": HEX}
    assert "specDigest" not in claim(evaluation())


def test_an_export_is_stated_in_full() -> None:
    assert json.loads(export())["predicateType"] == "urn:ai-infra:attestation:export:v1"
    assert claim(export()) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "version": 3,
        "environment": "prod",
        "current": {"sequence": 8, "manifest": HEX},
        "head": {"origin": ORIGIN, "size": 41, "root": HEX},
        "files": HEX,
        "exportedBy": "ada",
        "exportedAt": WRITTEN,
    }


def test_an_export_of_a_version_says_nothing_about_what_is_current() -> None:
    predicate = claim(export(environment=None, current=None))
    assert (predicate["environment"], predicate["current"]) == (None, None)


def test_an_import_is_stated_in_full_about_the_record_as_it_came() -> None:
    stated = json.loads(imported())
    assert stated["predicateType"] == "urn:ai-infra:attestation:import:v1"
    assert stated["subject"] == [{"name": "artifact:old", "digest": {"sha256": sha256_hex(DOCUMENT.encode())}}]
    assert stated["predicate"] == {
        "source": "https://old.example/registry",
        "kind": "artifact",
        "originalId": "old",
        "artifactId": str(ID),
        "outcome": "registered as rainfall:3",
        "importedBy": "ada",
        "importedAt": WRITTEN,
    }
    assert json.loads(imported(artifact_id=None))["predicate"]["artifactId"] is None


def test_a_tombstone_is_stated_in_full() -> None:
    assert json.loads(tombstone())["predicateType"] == "urn:ai-infra:attestation:tombstone:v1"
    assert claim(tombstone()) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "version": 3,
        "artifactUri": "s3://models/x",
        "reason": "nobody uses it",
        "rule": {"olderThanDays": 90, "keepLast": 3, "rollbackTargets": 2},
        "prunedBy": "ada",
        "prunedAt": WRITTEN,
    }


def test_a_rollback_is_a_promotion_that_says_so() -> None:
    read = statement.parse(promotion(replaces=ID)).predicate
    assert isinstance(read, Promotion)
    assert read.promotion.rollback is True
    assert claim(promotion(replaces=ID)) == claim(promotion()) | {
        PROMOTION_EXTENSION: claim(promotion())[PROMOTION_EXTENSION] | {"rollback": True, "replaces": str(ID)}
    }


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (reproduction, {"outcome": "similar"}),
        (reproduction, {"outcome": "identical", "reproduced_checksum": OTHER}),
        (reproduction, {"outcome": "identical", "reproduced_checksum": None}),
        (reproduction, {"outcome": "different"}),
        (reproduction, {"outcome": "within_tolerance"}),
        (reproduction, {"outcome": "failed"}),
        (reproduction, {"outcome": "different", "reproduced_checksum": None}),
        (reproduction, {"outcome": "different", "reproduced_checksum": OTHER.upper()}),
        (reproduction, {"training_attestation": "nope"}),
        (reproduction, {"finished_at": MOMENT - timedelta(microseconds=1)}),
        (approval, {"expires_at": MOMENT - timedelta(microseconds=1)}),
        (approval, {"approved_at": MOMENT.replace(tzinfo=None)}),
        (approval, {"manifest": None}),
        (vouched_approval, {"expires_at": MOMENT - timedelta(microseconds=1)}),
        (vouched_approval, {"issuer": None}),
        (withdrawal, {"approval": "nope"}),
        (withdrawal, {"withdrawn_at": MOMENT.replace(tzinfo=None)}),
        (scan, {"verdict": "fine"}),
        (scan, {"findings_digest": None}),
        (scan, {"scanner": "x" * 5000}),
        (export, {"current": None}),
        (export, {"environment": None}),
        (export, {"current": (0, HEX)}),
        (export, {"current": (2**53, HEX)}),
        (export, {"version": 0}),
        (export, {"version": True}),
        (export, {"head": Checkpoint(ORIGIN, 0, bytes(32))}),
        (export, {"head": Checkpoint(ORIGIN, 1, bytes(31))}),
        (export, {"files": ""}),
        (reproduction, {"reproduced_by": "x" * 5000}),
        (approval, {"approver": "x" * 5000}),
        (export, {"exported_by": "x" * 5000}),
        (imported, {"kind": "model"}),
        (imported, {"outcome": "x" * 5000}),
        (imported, {"imported_at": MOMENT.replace(tzinfo=None)}),
        (tombstone, {"reason": "x" * 5000}),
        (tombstone, {"rule": {"olderThanDays": 90, "keepLast": 3}}),
        (tombstone, {"rule": {"olderThanDays": -1, "keepLast": 3, "rollbackTargets": 2}}),
        (tombstone, {"version": 0}),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value)[:50],
)
def test_what_makes_no_sense_is_not_stated(state: Callable[..., bytes], changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        state(**changes)


def test_a_failed_reproduction_names_no_checksum() -> None:
    assert claim(reproduction(outcome="failed", reproduced_checksum=None))["reproducedChecksum"] is None


@settings(deadline=None)
@given(NAMES, ACTORS, NAMES, st.sampled_from(DigestKind))
def test_every_name_that_a_record_may_have_can_be_signed(model: str, actor: str, environment: str, kind: DigestKind) -> None:
    for payload in all_with(model, actor, environment, "o" * 200, Subject(model, kind, HEX)):
        assert dsse.fits(payload)
        assert statement.parse(payload).subject.name == model


def test_the_longest_names_can_be_signed() -> None:
    subject = Subject("m" * 128, DigestKind.DIRECTORY, HEX)
    assert all(map(dsse.fits, all_with("m" * 128, '"' * 256, "e" * 128, "o" * 200, subject)))


@settings(deadline=None)
@given(st.text(max_size=5000))
def test_any_other_name_either_fits_or_is_refused(name: str) -> None:
    for state, who in ((approval, "approver"), (reproduction, "reproduced_by"), (export, "exported_by"), (promotion, "requested_by")):
        try:
            payload = state(**{who: name})
        except BadInput:
            continue
        assert dsse.fits(payload)
        assert statement.parse(payload).digest == statement.digest(payload)


def all_with(model: str, actor: str, environment: str, origin: str, subject: Subject) -> list[bytes]:
    """One statement of each kind whose length depends on names only, and one rollback with three approvers and three inputs."""
    return [
        registration(model=model, registered_by=actor, subject=subject),
        evaluation(model=model, recorded_by=actor, subject=subject),
        reproduction(model=model, reproduced_by=actor, subject=subject),
        approval(model=model, approver=actor, environment=environment, subject=subject),
        vouched_approval(model=model, approver=actor, environment=environment, subject=subject, issuer="i" * 500),
        vouched_withdrawal(model=model, withdrawn_by=actor, environment=environment, subject=subject, issuer="i" * 500),
        scan(model=model, scanned_by=actor, scanner=actor, subject=subject),
        export(model=model, exported_by=actor, environment=environment, head=Checkpoint(origin, 2**53 - 1, bytes(32)), subject=subject),
        promotion(
            model=model,
            requested_by=actor,
            environment=environment,
            subject=subject,
            approvers=[actor] * 3,
            input_attestations=[HEX] * 3,
            replaces=ID,
        ),
    ]
