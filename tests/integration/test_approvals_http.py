"""Agreeing over HTTP: whom the service knows and what their roles let them do, over real sockets with tokens of a real issuer."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiinfra_core import approving, verifying
from aiinfra_core.client import Client
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.errors import Conflict, Forbidden, NotFound, Outdated
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import VOUCHED_APPROVAL
from aiinfra_core.settings import Settings
from tests.simulators.approvers import asked, now, registered, settings_with_approvers, signed
from tests.simulators.http_story import is_problem
from tests.simulators.oidc import AUDIENCE, Issuer, issuing
from tests.simulators.service import serving
from tests.simulators.trust_files import signer

ROLES = {
    "sub:erin": ["approver:prod:security"],
    "sub:otto": ["approver:*:ml-lead"],
    "sub:mona": ["approver:staging:security", "approver:prod:docs"],
    "sub:paul": ["promoter:*", "approver:prod:security"],
    "sub:vera": ["viewer"],
    "sub:adam": ["admin"],
    "sub:alice": ["approver:prod"],
    "sub:Paul": ["approver:prod:security"],
}


@dataclass(frozen=True)
class Place:
    """A service where prod needs a security and an ml-lead approval, and a promotion there by paul that waits for them."""

    settings: Settings
    url: str
    issuer: Issuer
    artifact: Artifact
    waits: Promotion
    stack: ExitStack

    def as_(self, name: str) -> Client:
        return self.stack.enter_context(Client(self.url, token=self.issuer.token(sub=name)))

    @property
    def manifest(self) -> str:
        assert self.waits.manifest
        return self.waits.manifest


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        issuer = stack.enter_context(issuing())
        known = {"oidc_issuer": issuer.url, "oidc_audience": (AUDIENCE,), "roles": json.dumps(ROLES), "public_reads": False}
        where = settings_with_approvers(settings, tmp_path / "trust").model_copy(update=known)
        artifact = registered(where)
        yield Place(where, stack.enter_context(serving(where)), issuer, artifact, asked(where, artifact), stack)


def test_two_whom_the_service_knows_carry_a_promotion_to_production(place: Place) -> None:
    first = place.as_("erin").approve(place.waits.id, place.manifest, comment="Looked at it.")
    assert (first.approval.approver, first.approval.means, first.approval.counts_as) == ("erin", "identity", ("security",))
    assert (first.promotion.status, first.approval.comment) == ("pending_approval", "Looked at it.")
    told = place.as_("vera").approvals(place.waits.id)
    assert (told.required, told.missing, told.approvals) == ({"ml-lead": 1, "security": 1}, ("ml-lead",), (first.approval,))
    assert told.manifest and told.manifest.digest == place.manifest
    second = place.as_("otto").approve(place.waits.id, place.manifest)
    assert (second.promotion.status, second.promotion.manifest) == ("applied", place.manifest)
    after = place.as_("vera").approvals(place.waits.id)
    assert (after.missing, [one.counts_as for one in after.approvals]) == ((), [("security",), ("ml-lead",)])
    assert verifying.verify_history(place.settings).findings == []


def test_what_the_service_vouches_for_names_who_agreed_in_which_roles_and_who_says_so(place: Place) -> None:
    client = place.as_("erin")
    given = client.approve(place.waits.id, place.manifest)
    kept = next(one for one in client.attestations(place.waits.artifact_id) if one.digest == given.approval.attestation)
    said = statement.parse(dsse.parse(base64.b64decode(kept.envelope_base64)).payload)
    assert said.predicate_type == VOUCHED_APPROVAL
    assert said.predicate.model_dump(include={"approver", "roles", "issuer", "manifest"}) == {
        "approver": "erin",
        "roles": ("security",),
        "issuer": place.issuer.url,
        "manifest": place.manifest,
    }


def test_what_somebody_signs_with_a_key_of_their_own_is_taken_from_them(place: Place) -> None:
    envelope = signed(place.settings, place.waits, "alice")
    given = place.as_("alice").approve(place.waits.id, place.manifest, envelope=envelope)
    assert (given.approval.approver, given.approval.means, given.approval.counts_as) == ("alice", "key", ("security",))
    assert place.as_("alice").approve(place.waits.id, place.manifest, envelope=envelope).approval == given.approval
    assert now(place.settings, place.waits).status == "pending_approval"


def test_what_is_in_the_name_of_somebody_else_is_taken_from_nobody(place: Place) -> None:
    carols, alices = (signed(place.settings, place.waits, name) for name in ("carol", "alice"))
    for name in ("paul", "otto", "Paul"):  # paul asked for it, and may well hold the key that is listed as carol's
        with pytest.raises(Forbidden, match=f"You are {name}, and the envelope is in the name of carol.*exactly as your identity provider"):
            place.as_(name).approve(place.waits.id, place.manifest, envelope=carols)
    given = place.as_("alice").approve(place.waits.id, place.manifest, envelope=alices)
    back = dsse.sign(approving.withdrawal_to_sign(place.settings, given.approval.id, datetime.now(UTC)), signer("alice"))
    with pytest.raises(Forbidden, match="You are otto, and the envelope is in the name of alice"):
        place.as_("otto").withdraw_approval(place.waits.id, given.approval.id, envelope=back)
    assert [one.counts_as for one in place.as_("vera").approvals(place.waits.id).approvals] == [("security",)]
    assert place.as_("alice").withdraw_approval(place.waits.id, given.approval.id, envelope=back).approval.withdrawn


def test_who_does_not_count_is_told_why_and_nothing_is_kept(place: Place) -> None:
    no_role = "none of the roles approver"
    asked_for_it = {"paul": "paul asked for it", "Paul": "Paul asked for it"}
    for name, why in {**asked_for_it, "mona": "prod asks for ml-lead, security", "vera": no_role, "nobody": no_role}.items():
        with pytest.raises(Forbidden, match=why):
            place.as_(name).approve(place.waits.id, place.manifest)
    assert place.as_("vera").approvals(place.waits.id).approvals == ()


def test_an_administrator_agrees_to_nothing_by_being_one(place: Place) -> None:
    with pytest.raises(Forbidden, match="adam has no role approver:prod"):
        place.as_("adam").approve(place.waits.id, place.manifest)
    assert place.as_("adam").approvals(place.waits.id).missing == ("ml-lead", "security")


def test_whoever_saw_another_manifest_agrees_to_nothing(place: Place) -> None:
    with pytest.raises(Outdated, match="has not the manifest"):
        place.as_("erin").approve(place.waits.id, "0" * 64)
    with pytest.raises(NotFound):
        place.as_("erin").approve(place.waits.artifact_id, place.manifest)


def test_an_approval_is_taken_back_by_whoever_gave_it_and_by_nobody_else(place: Place) -> None:
    given = place.as_("erin").approve(place.waits.id, place.manifest)
    with pytest.raises(Forbidden, match="given by erin"):
        place.as_("otto").withdraw_approval(place.waits.id, given.approval.id)
    taken = place.as_("erin").withdraw_approval(place.waits.id, given.approval.id, reason="The scores were of another year.")
    assert taken.approval.withdrawn
    assert (taken.approval.withdrawn.withdrawn_by, taken.approval.withdrawn.reason) == ("erin", "The scores were of another year.")
    assert (taken.approval.counts_as, place.as_("vera").approvals(place.waits.id).missing) == ((), ("ml-lead", "security"))
    staged = asked(place.settings, place.artifact, "staging")
    with pytest.raises(NotFound, match="has no approval"):
        place.as_("otto").withdraw_approval(staged.id, given.approval.id)


def test_what_is_over_takes_no_approval_back(place: Place) -> None:
    given = place.as_("erin").approve(place.waits.id, place.manifest)
    place.as_("otto").approve(place.waits.id, place.manifest)
    with pytest.raises(Conflict, match="is applied"):
        place.as_("erin").withdraw_approval(place.waits.id, given.approval.id)


def test_an_approval_that_is_malformed_is_told_so(place: Place) -> None:
    headers = {"Authorization": f"Bearer {place.issuer.token(sub='erin')}"}
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"manifest": "nonsense"},
        {"manifest": place.manifest, "approver": "alice"},
        {"manifest": place.manifest, "comment": ""},
        {"manifest": place.manifest, "comment": "a\x00b"},
        {"manifest": place.manifest, "envelopeBase64": "A" * 30000},
        {"manifest": place.manifest, "envelopeBase64": "no base64"},
    )
    for body in wrong:
        assert is_problem(httpx.post(f"{place.url}/ai-infra/promotions/{place.waits.id}/approvals", json=body, headers=headers), 400)
    url = f"{place.url}/ai-infra/promotions/{place.waits.id}/approvals"
    no_digest = httpx.post(url, json={"manifest": "nonsense"}, headers=headers).json()
    assert no_digest["detail"] == "The request is malformed: manifest: must be a SHA-256 digest, 64 digits of 0-9 and a-f."
    other = httpx.post(url, json={"manifest": "0" * 64}, headers=headers)
    assert (other.status_code, other.json()["title"], other.json()["code"]) == (412, "Not as you saw it", "outdated")
    assert place.as_("vera").approvals(place.waits.id).approvals == ()


def test_an_envelope_that_is_none_is_the_fault_of_whoever_sent_it(place: Place) -> None:
    for envelope in (b"", b"nonsense", b"{}", dsse.sign(b"{}", signer("alice"))):
        answer = httpx.post(
            f"{place.url}/ai-infra/promotions/{place.waits.id}/approvals",
            json={"manifest": place.manifest, "envelopeBase64": base64.b64encode(envelope).decode()},
            headers={"Authorization": f"Bearer {place.issuer.token(sub='erin')}"},
        )
        assert is_problem(answer, answer.status_code) and 400 <= answer.status_code < 500, answer.text
