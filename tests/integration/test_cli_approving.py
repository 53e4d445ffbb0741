"""`aiinfra pending`, `approve` and `approvals`: on the machine with a key of one's own, in development by name, and at a service."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiinfra_core import awaiting
from aiinfra_core.cli import approvers
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import dsse
from aiinfra_core.settings import Settings
from aiinfra_core.wire.approvals import SentApprovals
from aiinfra_core.wire.reading import SentStatement
from tests.simulators.approvers import asked, now, registered, settings_with_approvers
from tests.simulators.command_line import Run, installation, run
from tests.simulators.http_story import open_to_debug
from tests.simulators.service import AS_DEBUG, serving
from tests.simulators.trust_files import signer

__all__ = ["installation", "run"]

TWO_ROLES = """
name: two-people
version: "1"
answers: {allow: yes-sir, deny: no-sir}
rules:
  - {id: quality, expression: evaluation.metrics.quality >= 0.8, reason: too low}
environments:
  prod:
    approvals: {roles: {security: 1, ml-lead: 1}}
    separation_of_duties: {approver_is_not: [registrar]}
"""


def key_file(folder: Path, name: str) -> str:
    """Write the key of a person of the trust root; return its URI."""
    path = folder / f"{name}.key"
    path.write_text(base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())
    path.chmod(0o600)
    return f"file:{path}"


@pytest.fixture
def place(installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = settings_with_approvers(installation, tmp_path / "trust")
    monkeypatch.setenv("AI_INFRA_TRUST_ROOT", str(settings.trust_root))
    return settings


@pytest.fixture
def artifact(place: Settings) -> Artifact:
    return registered(place)


@pytest.fixture
def waits(place: Settings, artifact: Artifact) -> Promotion:
    return asked(place, artifact)


def test_promote_says_who_has_to_agree_and_how_and_is_no_failure(place: Settings, artifact: Artifact, run: Run) -> None:
    asked_for = run("promote rainfall --to prod --metric quality=0.9 --requested-by paul")
    assert asked_for.code == 0
    assert "rainfall:1 waits for approval for prod" in asked_for.out
    assert "needs        1 as ml-lead, 1 as security" in asked_for.out
    promotion = run("pending --json").json[0]["id"]
    assert f"Next: aiinfra approve {promotion}" in asked_for.out
    assert "A promotion waits for people." in run("status").out


def test_what_is_no_promotions_id_is_told_with_where_they_are(run: Run) -> None:
    for command in ("approve", "approvals list"):
        ended = run(f"{command} nope")
        assert (ended.code, ended.error) == (
            2,
            "'nope' is no promotion's id; those that wait for people are shown by: aiinfra pending",
        )


def test_approve_first_shows_what_it_would_sign_and_signs_nothing(place: Settings, waits: Promotion, run: Run) -> None:
    shown = run(f"approve {waits.id}")
    assert shown.code == 0
    assert "Nothing is signed yet." in shown.out
    assert f"Next: aiinfra approve {waits.id} --manifest {waits.manifest}" in shown.out
    assert run(f"approvals list {waits.id} --json").json["approvals"] == []


def test_two_keys_carry_a_promotion_to_production(place: Settings, waits: Promotion, run: Run, tmp_path: Path) -> None:
    first = run(f"approve {waits.id} --manifest {waits.manifest} --key {key_file(tmp_path, 'alice')} --comment fine")
    assert first.code == 0
    assert "alice agrees, as security." in first.out
    assert "rainfall:1 still waits for prod: ml-lead until" in first.out
    second = run(f"approve {waits.id} --manifest {waits.manifest} --key {key_file(tmp_path, 'bob')} --json")
    assert (second.code, second.json["promotion"]["status"]) == (0, "applied")
    listed = run(f"approvals list {waits.id} --json").json
    assert [(one["approver"], one["means"], one["comment"]) for one in listed["approvals"]] == [
        ("alice", "key", "fine"),
        ("bob", "key", None),
    ]
    assert run("pending").out == "No promotion waits for anybody.\n"


def test_nothing_is_signed_for_another_manifest_or_by_whoever_asked(place: Settings, waits: Promotion, run: Run, tmp_path: Path) -> None:
    other = run(f"approve {waits.id} --manifest {'0' * 64} --key {key_file(tmp_path, 'alice')}")
    assert (other.code, "nothing was signed" in other.error) == (2, True)
    mistyped = run(f"approve {waits.id} --manifest 1234 --key {key_file(tmp_path, 'alice')}")
    assert (mistyped.code, mistyped.error.startswith("--manifest must be the digest of the manifest")) == (2, True)
    nobody = run(f"approve {waits.id} --manifest {waits.manifest} --key nonsense")
    assert (nobody.code, nobody.error.startswith("--key (or AI_INFRA_APPROVAL_SIGNER_URI) names no signer")) == (2, True)
    unknown = run("approve 6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11")
    assert (unknown.code, unknown.error.endswith("are shown by: aiinfra pending")) == (2, True)
    own = run(f"approve {waits.id} --manifest {waits.manifest} --key {key_file(tmp_path, 'paul')}")
    assert (own.code, "paul asked for it" in own.error) == (8, True)
    assert now(place, waits).status == "pending_approval"


def test_whoever_is_told_something_else_than_the_manifest_says_signs_nothing(place: Settings, waits: Promotion, tmp_path: Path) -> None:
    told, key, at = awaiting.approvals_of(place, waits.id), key_file(tmp_path, "alice"), datetime.now(UTC)
    assert dsse.open_envelope(
        approvers.signed_approval(key, None, told, at, here=False), {(pair := signer("alice").public_key).keyid: pair}
    )
    other = awaiting.approvals_of(place, asked(place, registered(place, "other")).id)
    lies = (
        {"artifact": other.artifact},
        {"promotion": told.promotion.model_copy(update={"environment": "staging"})},
        {"promotion": told.promotion.model_copy(update={"promoted_by": "erin"})},
        {"promotion": told.promotion.model_copy(update={"sequence": 2})},
        {"manifest": other.manifest},
        {"manifest": _signed_by(told, "alice")},
    )
    for lie in lies:
        with pytest.raises(EvidenceBroken):
            approvers.signed_approval(key, None, told.model_copy(update=lie), at, here=False)
    with pytest.raises(BadInput, match="no manifest"):
        approvers.signed_approval(key, None, told.model_copy(update={"manifest": None}), at, here=False)


def _signed_by(told: SentApprovals, name: str) -> SentStatement:
    """Return the same manifest, signed by somebody whose signature does not count for that."""
    assert told.manifest
    payload = dsse.parse(base64.b64decode(told.manifest.envelope_base64)).payload
    return told.manifest.model_copy(update={"envelope_base64": base64.b64encode(dsse.sign(payload, signer(name))).decode()})


def test_where_a_trust_root_says_whose_word_counts_nobody_approves_by_name_alone(place: Settings, waits: Promotion, run: Run) -> None:
    refused = run(f"approve {waits.id} --manifest {waits.manifest} --approver alice")
    assert (refused.code, "--key URI" in refused.error) == (2, True)


def test_an_approval_is_taken_back_with_the_key_that_gave_it(place: Settings, waits: Promotion, run: Run, tmp_path: Path) -> None:
    key = key_file(tmp_path, "alice")
    approval = run(f"approve {waits.id} --manifest {waits.manifest} --key {key} --json").json["approval"]["id"]
    other = run(f"approvals withdraw {waits.id} {approval} --key {key_file(tmp_path, 'bob')}")
    assert other.code == 8
    taken = run(f"approvals withdraw {waits.id} {approval} --key {key} --reason 'changed my mind'")
    assert (taken.code, "The approval of alice is taken back." in taken.out) == (0, True)
    assert "The approval of alice was taken back before, at " in run(f"approvals withdraw {waits.id} {approval} --key {key}").out
    assert "it was taken back by alice" in run(f"approvals list {waits.id}").out


def test_the_page_is_written_once_as_one_file(place: Settings, waits: Promotion, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run(f"approvals page {waits.id} --out {out}").code == 0
    assert waits.manifest and waits.manifest in out.read_text()
    assert run(f"approvals page {waits.id} --out {out}").code == 2


def test_in_development_a_second_person_is_played_by_name(
    installation: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "two.yaml"
    policy.write_text(TWO_ROLES)
    monkeypatch.setenv("AI_INFRA_POLICY", str(policy))
    registered(installation, by="rita")
    waits = run("promote rainfall --to prod --metric quality=0.9 --requested-by paul --json").json
    assert (waits["status"], waits["approvalsRequired"]) == ("pending_approval", {"ml-lead": 1, "security": 1})
    gates = {one["environment"]: one for one in run("status --json").json["gates"]}
    assert (gates["prod"]["approvals"], gates["prod"]["approverIsNot"]) == ({"ml-lead": 1, "security": 1}, ["requester", "registrar"])
    assert (gates["staging"]["approvals"], gates["staging"]["approverIsNot"]) == ({}, ["requester"])
    line = f"approve {waits['id']} --manifest {waits['manifest']} --approver"
    for name in ("paul", "rita"):
        assert run(f"{line} {name}").code == 8
    assert "still waits" in run(f"{line} alice").out
    assert "still waits" in run(f"{line} alice").out
    assert "rainfall:1 is current in prod." in run(f"{line} bob").out


def test_a_service_is_asked_with_the_same_words_and_its_debug_token_agrees_to_nothing(
    place: Settings, artifact: Artifact, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits = asked(place, artifact)
    with serving(open_to_debug(place)) as url:
        monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", AS_DEBUG["X-Debug-Token"])
        assert [one["id"] for one in run(f"pending --server {url} --json").json] == [str(waits.id)]
        line = f"approve {waits.id} --manifest {waits.manifest} --server {url}"
        assert "alice agrees, as security." in run(f"{line} --key {key_file(tmp_path, 'alice')}").out
        assert run(f"{line} --approver somebody").code == 2
        played = run(line)
        assert (played.code, "Nobody proves to be debug (debug-token)" in played.error) == (8, True)
        assert "rainfall:1 is current in prod." in run(f"{line} --key {key_file(tmp_path, 'bob')}").out
        assert json.loads(run(f"approvals list {waits.id} --server {url} --json").out)["missing"] == []
        assert run(f"approvals page {waits.id} --server {url} --out {tmp_path / 'page.html'}").code == 0
