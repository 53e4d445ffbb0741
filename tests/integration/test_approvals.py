"""Promotions that wait for people: who counts, what is recorded, and what carries them on; real keys, a real trust root, real Postgres."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiinfra_core import agreeing, approving, database, promoting, verifying
from aiinfra_core.approving import statements, waiting
from aiinfra_core.domain.approval import Means
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.trust import Purpose, TrustedKey
from aiinfra_core.errors import BadInput, Conflict, Forbidden, Misconfigured, Outdated
from aiinfra_core.evidence import claims, confirmations, dsse
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import configured_signer, trust_of
from aiinfra_core.registry import approvals, dossier
from aiinfra_core.settings import Settings
from tests.simulators.approvers import (
    agree,
    agree_by_name,
    asked,
    change_trust,
    events,
    given,
    key_of,
    now,
    registered,
    settings_with_approvers,
    signed,
    take_back,
    vouched,
)
from tests.simulators.trust_files import signer


def _keys(settings: Settings) -> tuple[TrustedKey, ...]:
    return trust_of(settings).keys


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    return settings_with_approvers(settings, tmp_path / "trust")


@pytest.fixture
def artifact(place: Settings) -> Artifact:
    return registered(place)


def test_the_last_approval_that_was_missing_carries_the_promotion_on(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    assert (waits.status, waits.approvals_required) == (PromotionStatus.PENDING_APPROVAL, {"ml-lead": 1, "security": 1})
    assert waits.manifest
    assert asked(place, artifact) == waits
    first, still = agree(place, waits, "alice")
    assert (first.means, first.roles, first.manifest, still.status) == (Means.KEY, ("security",), waits.manifest, waits.status)
    second, applied = agree_by_name(place, waits, "dora", "ml-lead")
    assert (second.means, second.approver, applied.status) == (Means.IDENTITY, "dora", PromotionStatus.APPLIED)
    assert (applied.manifest, applied.sequence_seen) == (waits.manifest, 0)
    assert events(place)[-6:] == [
        "promotion.pending",
        "approval.given",
        "approval.given",
        "policy.decision",
        "promotion.approved",
        "promotion.applied",
    ]
    assert verifying.verify_history(place).findings == []


def test_what_needs_nobody_is_applied_at_once(place: Settings, artifact: Artifact) -> None:
    staged = asked(place, artifact, "staging")
    assert (staged.status, staged.approvals_required, staged.pending_until) == (PromotionStatus.APPLIED, None, None)


def test_an_approval_given_twice_is_one(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    envelope = signed(place, waits, "alice")
    first, again = (approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=envelope)[0] for _ in range(2))
    by_name, once_more = (agree_by_name(place, waits, "dora", "security")[0] for _ in range(2))
    assert (first, by_name) == (again, once_more)
    assert given(place, waits) == [first, by_name]
    assert events(place).count("approval.given") == 2


def test_an_approval_by_the_requester_does_not_count(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    with pytest.raises(Forbidden, match="paul asked for it"):
        agree(place, waits, "paul")
    with pytest.raises(Forbidden, match="paul asked for it"):
        agree_by_name(place, waits, "paul", "security", "ml-lead")
    assert given(place, waits) == []


def test_one_owner_fills_one_place_whatever_keys_and_names_they_have(place: Settings, artifact: Artifact) -> None:
    change_trust(place, keys=(*_keys(place), key_of("carol-2")))
    waits = asked(place, artifact)
    agree(place, waits, "carol")
    assert agree(place, waits, "carol", key="carol-2")[1].status is PromotionStatus.PENDING_APPROVAL
    assert agree_by_name(place, waits, "carol", "security", "ml-lead")[1].status is PromotionStatus.PENDING_APPROVAL
    assert agree(place, waits, "bob")[1].status is PromotionStatus.APPLIED


def test_a_manifest_the_approver_did_not_see_is_not_agreed_to(place: Settings, artifact: Artifact) -> None:
    waits, other = asked(place, artifact), asked(place, registered(place, "other"))
    with pytest.raises(Outdated, match="look at it again"):
        approving.approve(place, waits.id, manifest=other.manifest or "", identity=vouched("dora", ["security"]))
    with pytest.raises(Forbidden, match="subject is not what the record says"):
        approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=signed(place, other, "alice"))
    assert given(place, waits) == []


def test_a_signature_of_somebody_else_does_not_count(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    for name, key, said in (
        ("alice", "bob", "a key of bob"),
        ("alice", "stranger", "not in the trust root"),
        ("rita", "rita", "trust root"),
    ):
        with pytest.raises(Forbidden, match=said):
            agree(place, waits, name, key)
    service = dsse.sign(
        approving.payload_to_sign(place, waits.id, "service", datetime.now(UTC)), configured_signer(place, Purpose.PROMOTION)
    )
    with pytest.raises(Forbidden, match="not trusted here"):
        approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=service)
    with pytest.raises(BadInput, match="cannot be read"):
        approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=b"{}")
    with pytest.raises(BadInput, match="one of the two"):
        approving.approve(place, waits.id, manifest=waits.manifest or "")
    assert given(place, waits) == []


def test_a_role_nobody_asked_for_is_told_and_not_kept(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    with pytest.raises(Forbidden, match="asks for ml-lead, security"):
        agree_by_name(place, waits, "dora", "approver")
    with pytest.raises(Forbidden, match="none"):
        agree_by_name(place, waits, "dora")
    assert given(place, waits) == []


@pytest.mark.parametrize(("hours", "lasts", "said"), [(1, 1, "clock"), (-1, 1, "clock"), (0, 200, "at most 7 days"), (0, 0, "expired")])
def test_an_approval_of_another_time_or_for_too_long_is_refused(
    place: Settings, artifact: Artifact, hours: int, lasts: int, said: str
) -> None:
    waits = asked(place, artifact)
    at = datetime.now(UTC) + timedelta(hours=hours)
    payload = confirmations.approval(
        promotion_id=waits.id,
        model=waits.model,
        environment=waits.environment,
        subject=claims.subject_of(artifact),
        manifest=waits.manifest or "",
        approver="alice",
        approved_at=at,
        expires_at=at + timedelta(hours=lasts),
    )
    with pytest.raises(BadInput, match=said):
        approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=dsse.sign(payload, signer("alice")))


def test_a_withdrawn_approval_does_not_count_and_only_its_giver_takes_it_back(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    envelope = signed(place, waits, "alice")
    approval, _ = approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=envelope)
    with pytest.raises(Forbidden, match="only they"):
        approving.withdraw(place, approval.id, identity=vouched("mallory", ["security"]))
    with pytest.raises(Forbidden, match="a key of bob"):
        payload = approving.withdrawal_to_sign(place, approval.id, datetime.now(UTC))
        approving.withdraw(place, approval.id, envelope=dsse.sign(payload, signer("bob")))
    taken = take_back(place, approval)
    assert (taken.withdrawn_by, approving.withdraw(place, approval.id, identity=vouched("alice", []))) == ("alice", taken)
    assert agree(place, waits, "bob")[1].status is PromotionStatus.PENDING_APPROVAL
    with pytest.raises(Conflict, match="taken back"):
        approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=envelope)
    assert agree(place, waits, "alice")[1].status is PromotionStatus.APPLIED
    with pytest.raises(Conflict, match="applied"):
        take_back(place, given(place, waits)[1])
    assert events(place).count("approval.withdrawn") == 1
    assert verifying.verify_history(place).findings == []


def test_a_promotion_that_is_over_takes_no_approval(place: Settings, artifact: Artifact) -> None:
    staged = asked(place, artifact, "staging")
    with pytest.raises(Conflict, match="applied"):
        agree(place, staged, "alice")
    refused = asked(place, artifact, quality=0.1)
    with pytest.raises((Conflict, Outdated)):
        agree_by_name(place, refused, "dora", "security")


def test_a_key_that_was_taken_off_the_list_takes_its_approval_with_it(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    agree(place, waits, "alice")
    change_trust(place, keys=tuple(key for key in _keys(place) if key.owner != "alice"))
    assert agree(place, waits, "bob")[1].status is PromotionStatus.PENDING_APPROVAL
    assert agree(place, waits, "carol")[1].status is PromotionStatus.APPLIED


def test_a_trust_root_that_asks_for_more_by_now_is_heard(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    change_trust(place, thresholds={"prod": {"ml-lead": 1, "security": 2}})
    agree(place, waits, "alice")
    assert agree(place, waits, "bob")[1].status is PromotionStatus.PENDING_APPROVAL
    assert agree(place, waits, "carol")[1].status is PromotionStatus.APPLIED


def test_whoever_waited_while_another_became_current_is_superseded(place: Settings, artifact: Artifact) -> None:
    first, second = asked(place, artifact), asked(place, registered(place, "other"))
    for name in ("alice", "bob"):
        agree(place, second, name)
    assert agree(place, first, "alice")[1].status is PromotionStatus.SUPERSEDED
    assert (now(place, first).status, now(place, second).status) == (PromotionStatus.SUPERSEDED, PromotionStatus.APPLIED)


def test_without_a_trust_root_the_service_vouches_and_keys_do_not_count(settings: Settings, place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    envelope = signed(place, waits, "alice")
    with pytest.raises(Misconfigured, match="trust root"):
        approving.approve(settings, waits.id, manifest=waits.manifest or "", envelope=envelope)
    agree_by_name(settings, waits, "dora", "security")
    assert agree_by_name(settings, waits, "emil", "ml-lead")[1].status is PromotionStatus.APPLIED


def test_a_service_that_must_not_vouch_says_how_that_is_mended(place: Settings, artifact: Artifact) -> None:
    waits = asked(place, artifact)
    change_trust(place, keys=tuple(key.model_copy(update={"purposes": key.purposes[:4]}) for key in _keys(place)))
    with pytest.raises(Misconfigured, match="--purpose vouching --replace"):
        agree_by_name(place, waits, "dora", "security")


@pytest.mark.parametrize("forged", ["signer", "manifest", "requester", "roles"])
def test_an_approval_that_somebody_wrote_past_the_checks_does_not_count(place: Settings, artifact: Artifact, forged: str) -> None:
    waits, other = asked(place, artifact), asked(place, registered(place, "other"))
    agree(place, waits, "bob")
    with database.autocommit(place) as connection:
        known = dossier.of_promotion(connection, waits.id)
        about = dossier.of_promotion(connection, other.id) if forged == "manifest" else known
        name = "paul" if forged == "requester" else "alice"
        at = datetime.now(UTC)
        approval = statements.unsigned_approval(about, name, Means.KEY, at=at, until=at + timedelta(hours=1), roles=("security",))
        payload = claims.of_approval(approval, about.promotion, about.artifact)
        said = attest(payload, signer({"signer": "mallory", "roles": "bob"}.get(forged, name)))
        approval = approval.model_copy(update={"attestation": said.digest, "promotion_id": waits.id})
        assert approvals.give(connection, known.row, approval, said, at=at)
    (objection,) = [one.objection for one in agreeing.weighed(place, known, datetime.now(UTC)) if one.given.approval.id == approval.id]
    assert objection
    assert promoting.go_on(place, waits.id).status is PromotionStatus.PENDING_APPROVAL


_POLICY = """
name: apart
version: "1"
answers: {allow: yes-apart, deny: no-apart}
rules:
  - id: any
    expression: "true"
    reason: never
approvals: {roles: {approver: 1}, pending_hours: HOURS, approval_hours: 1}
separation_of_duties: {approver_is_not: [registrar]}
"""


def _under(settings: Settings, folder: Path, hours: float) -> Settings:
    (folder / "apart.yaml").write_text(_POLICY.replace("HOURS", str(hours)))
    return settings.model_copy(update={"policy": str(folder / "apart.yaml")})


def test_a_policy_says_who_has_to_agree_and_who_must_not(settings: Settings, tmp_path: Path) -> None:
    under = _under(settings, tmp_path, hours=1)
    waits = asked(under, registered(under), "staging")
    assert waits.approvals_required == {"approver": 1}
    with pytest.raises(Forbidden, match="rita is its registrar"):
        agree_by_name(under, waits, "rita", "approver")
    assert agree_by_name(under, waits, "dora", "approver")[1].status is PromotionStatus.APPLIED


def test_what_waited_longer_than_its_policy_lets_it_has_expired(settings: Settings, tmp_path: Path) -> None:
    under = _under(settings, tmp_path, hours=1e-7)
    first, second = (asked(under, registered(under, content), "staging") for content in ("weights", "others"))
    with pytest.raises(Conflict, match="expired"):
        agree_by_name(under, first, "dora", "approver")
    waiting.go_on(under)
    assert [now(under, one).status for one in (first, second)] == [PromotionStatus.EXPIRED] * 2
