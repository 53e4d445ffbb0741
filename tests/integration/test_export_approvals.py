"""Approvals in an export: how many the manifest, the policy and the trust root ask for, whose count, and what is found where they lack."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import agreeing, canonical_json, promoting
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle, dsse, statement, trust_editing
from aiinfra_core.evidence.confirmation_predicates import Approval
from aiinfra_core.evidence.verification import recorded_inputs, records
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.keys import loaded_signer, signers_as_keys, trust_of
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.trusting import changing
from tests.simulators import approvers, exports
from tests.simulators.approvers import agree, agree_by_name, asked, registered, settings_with_approvers
from tests.simulators.exports import (
    TARGETS_KEY,
    checked,
    copied,
    exported,
    problems,
    promoted,
    promoted_with,
    signed_again,
    trained,
    trusted,
    with_trust,
)
from tests.simulators.trust_files import signer

PAST = datetime(2020, 1, 1, tzinfo=UTC)

APPROVERS = {name: local.from_base64(local.generate(), name) for name in ("sam", "lea", "max", "paul")}
ROLES = {"sam": ("security",), "lea": ("ml-lead",), "max": ("security", "ml-lead"), "paul": ("security", "ml-lead")}


def _asking(settings: Settings, **thresholds: dict[str, int]) -> Settings:
    keys = [trusted(APPROVERS[name], name, Purpose.APPROVAL, roles=ROLES[name]) for name in APPROVERS]
    return with_trust(settings, *keys, thresholds=thresholds)


def _under(settings: Settings, export: Path, roles: dict[str, int], since: datetime | None = None) -> list[str]:
    """Return what is found in an export by an auditor whose newer trust asks for approvals in prod."""
    assert settings.trust_root is not None
    folder = settings.trust_root.parent
    changing.change(folder, lambda trust: trust_editing.with_threshold(trust, "prod", roles, since), TARGETS_KEY)
    newer = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return problems(checked(export, settings.trust_root, trust=newer))


def _approved(settings: Settings, tmp_path: Path, *by: str, **changes: object) -> list[str]:
    """Promote with approvals, then let the trust root ask for one of security and one ml-lead; return what step 5 finds."""
    asking = _asking(settings)
    promoted_with(asking, trained(asking), {name: APPROVERS[name] for name in by}, changes)
    found = _under(asking, exported(asking, "rainfall@prod", tmp_path / "out"), {"security": 1, "ml-lead": 1})
    assert {one.split()[0] for one in found} <= {"5"}
    return found


def test_enough_distinct_owners_with_the_roles_are_enough(settings: Settings, tmp_path: Path) -> None:
    assert _approved(settings, tmp_path, "sam", "lea") == []


@pytest.mark.parametrize(
    ("by", "changes", "said"),
    [
        ((), {}, "lacks an approval as ml-lead, security"),
        (("sam",), {}, "lacks an approval as ml-lead"),
        (("max",), {}, "1 owners approved"),
        (("max", "paul"), {}, "is by whoever asked"),
        (("sam", "lea"), {"environment": "staging"}, "is about another promotion"),
        (("sam", "lea"), {"expires_at": PAST, "approved_at": PAST}, "was not valid"),
        (("sam", "lea"), {"approver": "max"}, "is signed by another"),
        (("sam",), {"manifest": "ab" * 32}, "0 owners approved"),
    ],
)
def test_too_few_approvals_are_told_with_why_others_do_not_count(
    settings: Settings, tmp_path: Path, by: tuple[str, ...], changes: dict[str, object], said: str
) -> None:
    (found,) = _approved(settings, tmp_path, *by, **changes)
    assert said in found


def test_the_self_check_hands_out_no_export_that_lacks_approvals(settings: Settings, tmp_path: Path) -> None:
    asking = _asking(settings)
    promoted(asking, trained(asking))
    assert asking.trust_root is not None
    changing.change(asking.trust_root.parent, lambda trust: trust_editing.with_threshold(trust, "prod", {"security": 1}), TARGETS_KEY)
    with pytest.raises(EvidenceBroken, match="step 5, approvals"):
        exported(asking, "rainfall@prod", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_withdrawn_approval_does_not_count_also_where_somebody_applied_on_it(settings: Settings, tmp_path: Path) -> None:
    asking = _asking(settings)
    artifact = trained(asking)
    promotion_id = _signed(asking, str(artifact.id))
    digest = exports.approve(asking, artifact, promotion_id, "sam", APPROVERS["sam"], {})
    exports.take_back(asking, artifact, promotion_id, digest, "sam", APPROVERS["sam"])
    assert promoting.apply_promotion(asking, promotion_id).status is PromotionStatus.APPLIED
    (found,) = _under(asking, exported(asking, "rainfall@prod", tmp_path / "out"), {"security": 1})
    assert "that of sam was withdrawn before the promotion was applied" in found


def test_a_threshold_that_begins_later_says_nothing_about_what_was_applied_before(settings: Settings, tmp_path: Path) -> None:
    asking = _asking(settings)
    promoted(asking, trained(asking))
    between = datetime.now(UTC)
    promoted(asking, trained(asking, seed=2))
    export = exported(asking, "rainfall@prod", tmp_path / "out")
    assert len(_under(asking, export, {"security": 1})) == 2
    (found,) = _under(asking, export, {"security": 1}, between)
    assert "lacks an approval as security" in found
    assert _under(asking, export, {"security": 1}, datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("name", "issuer", "said"),
    [
        ("lea", "https://id.example", ""),
        ("SAM", "https://id.example", "; 1 owners approved."),
        ("PAUL", "https://id.example", "that of PAUL is by whoever asked for the promotion"),
        ("lea", "debug-token", "that of lea is in a name that nobody had to prove (debug-token)"),
        ("lea", "this-machine", "that of lea is in a name that nobody had to prove (this-machine)"),
    ],
)
def test_one_owner_counts_once_however_spelled_and_no_name_that_nobody_had_to_prove(
    settings: Settings, tmp_path: Path, name: str, issuer: str, said: str
) -> None:
    asking = _asking(settings)
    artifact = trained(asking)
    promotion_id = _signed(asking, str(artifact.id))
    exports.approve(asking, artifact, promotion_id, "sam", APPROVERS["sam"], {})
    service = loaded_signer(asking, Purpose.VOUCHING)
    assert isinstance(service, local.LocalSigner)
    exports.approve(asking, artifact, promotion_id, name, service, {"roles": ("ml-lead",), "issuer": issuer})
    promoting.apply_promotion(asking, promotion_id)
    found = _under(asking, exported(asking, "rainfall@prod", tmp_path / "out"), {"security": 1, "ml-lead": 1})
    assert [said in one for one in found] == [True] * bool(said)


@pytest.fixture
def waited(settings: Settings, tmp_path: Path) -> tuple[Settings, Path]:
    """Give an export of a promotion that one agreed to with a key and one by name, after a third had taken that back."""
    place = settings_with_approvers(settings, tmp_path / "trust")
    waits = asked(place, registered(place))
    mistaken, _ = agree(place, waits, "carol")
    approvers.take_back(place, mistaken)
    agree(place, waits, "alice")
    _, done = agree_by_name(place, waits, "dora", "ml-lead")
    assert done.status is PromotionStatus.APPLIED, done.reason
    return place, exported(place, "rainfall@prod", tmp_path / "out")


def _without(export: Path, folder: Path, settings: Settings, *names: str) -> list[str]:
    """Return what is found in an export from which files were taken before it was signed."""
    export = copied(export, folder)
    for name in names:
        (export / name).unlink()
    assert settings.trust_root is not None
    return problems(checked(signed_again(export, settings), settings.trust_root))


def _approval_by(export: Path, name: str) -> str:
    """Return the digest of somebody's approval."""
    said = [statement.parse(dsse.parse(path.read_bytes()).payload) for path in (export / "attestations").iterdir()]
    return next(one.digest for one in said if isinstance(one.predicate, Approval) and one.predicate.approver == name)


def test_a_promotion_that_waited_for_people_is_exported_with_each_of_them_and_verifies(waited: tuple[Settings, Path]) -> None:
    place, export = waited
    assert place.trust_root is not None
    report = checked(export, place.trust_root)
    assert problems(report) == []
    assert report.passed
    assert report.steps[5].found == "1 promotions have the approvals that were asked for"
    assert report.steps[7].found.endswith("judged again (promotions: 1)")
    kinds = {one.statement.predicate_type.split(":")[-2] for one in report.story.claims.values()} if report.story else set()
    assert kinds >= {"approval", "vouched-approval", "withdrawal", "scan"}


@pytest.mark.parametrize(("name", "role"), [("alice", "security"), ("dora", "ml-lead")])
def test_an_approval_taken_out_of_an_export_is_missed_there(waited: tuple[Settings, Path], tmp_path: Path, name: str, role: str) -> None:
    place, export = waited
    digest = _approval_by(export, name)
    found = _without(export, tmp_path / "less", place, bundle.attestation_name(digest), bundle.sigstore_name(digest))
    assert [one for one in found if one.startswith("5 ") and f"lacks an approval as {role}" in one]


def test_the_entry_that_says_they_agreed_cannot_be_left_out(waited: tuple[Settings, Path], tmp_path: Path) -> None:
    place, export = waited
    (path,) = [path for path in (export / "events").iterdir() if b'"event_type":"promotion.approved"' in path.read_bytes()]
    found = _without(export, tmp_path / "less", place, f"events/{path.name}", f"proofs/{path.stem}.tlog-proof")
    assert [one for one in found if one.startswith("11 ") and "no entry here says that everybody agreed" in one]


def test_a_key_that_may_not_vouch_vouches_for_nobody(waited: tuple[Settings, Path]) -> None:
    place, export = waited
    assert place.trust_root is not None
    own = signers_as_keys(place, "service")
    approvers.change_trust(place, keys=(*own, *map(approvers.key_of, approvers.PEOPLE)))
    newer = {path.name: path.read_bytes() for path in place.trust_root.parent.iterdir() if path.is_file()}
    found = problems(checked(export, place.trust_root, trust=newer))
    assert [one for one in found if one.startswith("4 ") and "may not sign for the purpose vouching" in one]
    assert [one for one in found if one.startswith("5 ") and "lacks an approval as ml-lead" in one]


@pytest.mark.parametrize(("roles", "proven"), [(["ml-lead"], True), (["ml-lead", "security"], False), ([], False)])
def test_the_roles_that_rules_saw_of_an_approval_are_those_that_are_proven(
    waited: tuple[Settings, Path], roles: list[str], proven: bool
) -> None:
    place, export = waited
    assert place.trust_root is not None
    story = checked(export, place.trust_root).story
    assert story is not None
    (manifest,) = story.manifests()
    entry = story.answers(manifest.said.promotion_id)[-1]
    seen = canonical_json.loads(story.value(entry.row("policy_decisions")["inputs"]) or "")
    seen["approvals"] = [{"approver": "dora", "roles": roles, "means": "identity"}]
    with nullcontext() if proven else pytest.raises(EvidenceBroken, match="the approvals that the rules saw"):
        recorded_inputs.check(story, manifest, records.check_inputs(story, Step(8)), entry, seen)


KEEPS_APART = """\
name: keeps-apart
version: "1"
description: One of security agrees who did not register it.
answers: {allow: agreed, deny: not-agreed}
rules:
  - {id: scored, expression: evaluation.metrics.quality > 0.5, reason: "It scored {evaluation.metrics.quality}."}
approvals: {roles: {security: 1}}
separation_of_duties: {approver_is_not: [registrar]}
"""


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("rita", "is by the registrar, who must not approve"),
        ("paul", "is by whoever asked for the promotion"),
        ("carol", "is by whoever asked for the promotion"),
    ],
)
@pytest.mark.parametrize("spelled", [str, str.capitalize])
def test_whoever_must_not_approve_does_not_count_also_where_the_service_let_them(
    settings: Settings, tmp_path: Path, by: str, why: str, spelled: Callable[[str], str]
) -> None:
    (policy := tmp_path / "policy.yaml").write_text(KEEPS_APART)
    rita = trusted(signer("rita"), "rita", Purpose.APPROVAL, roles=("security",))
    place = settings_with_approvers(settings, tmp_path / "trust", {}).model_copy(update={"policy": str(policy)})
    approvers.change_trust(place, keys=(*trust_of(place).keys, rita))
    artifact = registered(place, by=spelled("rita"))
    request = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by=spelled("paul"))
    waits = promoting.promote(place, request, asked_by=spelled("carol"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreeing, "barred_from", lambda *_: {})
        _, done = agree(place, waits, by)
    assert done.status is PromotionStatus.APPLIED, done.reason
    with pytest.raises(EvidenceBroken, match=f"step 5, approvals: .*{why}"):
        exported(place, "rainfall@prod", tmp_path / "out")


def _signed(settings: Settings, artifact: str) -> Any:
    request = PromotionRequest(artifact=artifact, environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
    promotion_id = promoting.request_promotion(settings, request)
    promoting.decide(settings, promotion_id)
    promoting.sign_manifest(settings, promotion_id)
    return promotion_id
