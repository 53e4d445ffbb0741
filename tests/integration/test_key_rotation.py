"""Keys that change while the work goes on: rotation with overlap, retired and compromised keys, rows that were backdated."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from aiinfra_core import artifact_store, database, keys, promoting, registering, trust_directory, verifying
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.trust import Compromise, Purpose, Trust, TrustedKey
from aiinfra_core.errors import EvidenceBroken, Misconfigured
from aiinfra_core.evidence import trust_editing
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.keys import SIGNED_HERE
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import attestations, evidence
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import model_artifacts
from aiinfra_core.trusting import changing
from tests.simulators import long_log
from tests.simulators.trust_files import signer

ROOT = signer("root")


class Place:
    """An installation with a key file per name, a trust root that lists some of them, and a clock of its own making."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.folder, self.trust = folder, folder / "trust"
        self.settings = settings.model_copy(update={"trust_root": self.trust / "1.root.json"})
        plan = RootPlan((ROOT.public_key,), 1, ROOT.public_key)
        listed = [self.entry(purpose, purpose) for purpose in SIGNED_HERE]
        changing.begin(self.trust, plan, Trust(keys=tuple(listed), logs=(settings.log_origin,)), signers=[ROOT], targets_signer=ROOT)
        for purpose in SIGNED_HERE:
            self.sign_with(purpose, purpose)

    def uri(self, name: str) -> str:
        path = self.folder / f"{name}.key"
        if not path.exists():
            path.write_text(local.generate())
            path.chmod(0o600)
        return f"file:{path}?signer-id={name}"

    def keyid(self, name: str) -> str:
        return keys.signer_at(self.settings, self.uri(name)).public_key.keyid

    def entry(self, name: str, *purposes: Purpose | str) -> TrustedKey:
        key = keys.signer_at(self.settings, self.uri(name)).public_key
        named = tuple(Purpose(purpose) for purpose in purposes)
        return TrustedKey(keyid=key.keyid, public_key=key.base64, signer_id=name, owner="ops", purposes=named)

    def sign_with(self, purpose: str, name: str) -> None:
        self.settings = self.settings.model_copy(update={f"{purpose}_signer_uri": self.uri(name)})

    def change(self, edit: Callable[[Trust], Trust]) -> None:
        changing.change(self.trust, edit, ROOT)

    def lists(self, name: str, *purposes: Purpose) -> None:
        self.change(lambda it: trust_editing.with_key(it, self.entry(name, *purposes)))

    def retires(self, name: str, at: datetime | None = None) -> None:
        self.change(lambda it: trust_editing.retired(it, self.keyid(name), at or datetime.now(UTC)))

    def loses(self, name: str, index: int) -> None:
        lost = Compromise(reported_at=datetime.now(UTC), reason="laptop stolen", bad_from_index=index)
        self.change(lambda it: trust_editing.compromised(it, self.keyid(name), lost))

    def registers(self, content: str = "weights") -> Artifact:
        source = self.folder / "model.bin"
        source.write_text(content)
        stored = artifact_store.put(artifact_store.location(self.settings), source, f"uploads/{content}")
        return registering.register(
            self.settings,
            RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita"),
        )

    def promotes(self, artifact: Artifact, environment: str = "prod") -> Promotion:
        return promoting.promote(
            self.settings,
            PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": 0.9}, requested_by="paul"),
        )

    def entries(self) -> int:
        with database.transaction(self.settings) as tx:
            return len(tx.execute(select(audit_events.c.seq)).all())

    def findings(self) -> list[str]:
        return [f"{finding.place}: {finding.problem}" for finding in verifying.verify_history(self.settings).findings]

    def backdates(self, table: str, key: str, column: str, moment: datetime) -> None:
        """Change a row as somebody with all rights in the database could."""
        with database.transaction(self.settings) as tx:
            tx.execute(text("RESET ROLE"))
            tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            tx.execute(text(f"UPDATE {table} SET {column} = :moment WHERE {key}"), {"moment": moment})
            tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Place:
    return Place(settings, tmp_path)


def test_each_purpose_signs_with_its_own_key_and_everything_verifies(place: Place) -> None:
    promotion = place.promotes(place.registers())
    assert (promotion.status, promotion.signer_id) == (PromotionStatus.APPLIED, "promotion")
    assert place.findings() == []
    assert len({place.keyid(purpose) for purpose in SIGNED_HERE}) == 4


def test_an_audit_key_is_rotated_with_overlap_and_both_histories_verify(place: Place) -> None:
    place.registers("before")
    place.lists("audit-2", Purpose.AUDIT)
    assert place.findings() == []
    place.sign_with("audit", "audit-2")
    place.retires("audit")
    place.promotes(place.registers("after"))
    with database.transaction(place.settings) as tx:
        signers = list(tx.execute(select(audit_events.c.signer_id).order_by(audit_events.c.seq)).scalars())
    assert list(dict.fromkeys(signers)) == ["audit", "audit-2"]
    assert place.findings() == []


def test_an_event_signed_by_a_retired_audit_key_afterwards_is_found(place: Place) -> None:
    old = place.settings
    place.registers("before")
    place.lists("audit-2", Purpose.AUDIT)
    place.sign_with("audit", "audit-2")
    place.retires("audit", datetime.now(UTC) - timedelta(hours=1))
    assert any("seq 1" in finding for finding in place.findings())
    place.settings = old
    with pytest.raises(Misconfigured, match="was not valid at"):
        place.registers("after")


def test_what_a_retired_key_signed_in_its_time_still_counts(place: Place) -> None:
    artifact = place.registers()
    place.lists("artifact-2", Purpose.ARTIFACT)
    place.sign_with("artifact", "artifact-2")
    place.retires("artifact")
    assert place.promotes(artifact).status is PromotionStatus.APPLIED
    assert place.findings() == []


def test_a_registration_after_its_key_ended_does_not_count_even_with_a_backdated_row(place: Place) -> None:
    artifact = place.registers()
    place.lists("artifact-2", Purpose.ARTIFACT)
    place.sign_with("artifact", "artifact-2")
    place.retires("artifact", artifact.created_at - timedelta(minutes=5))
    refused = place.promotes(artifact)
    assert (refused.status, "not trusted" in (refused.reason or "")) == (PromotionStatus.REJECTED, True)
    hour = timedelta(hours=1)
    place.backdates("model_artifacts", f"id = '{artifact.id}'", "created_at", artifact.created_at - hour)
    place.backdates("attestations", f"digest = '{artifact.attestation}'", "created_at", artifact.created_at - hour)
    assert place.promotes(artifact, "staging").status is PromotionStatus.REJECTED


def test_a_compromised_key_counts_before_its_index_and_not_from_it_on(place: Place) -> None:
    before = place.registers("before")
    index = place.entries()
    after = place.registers("after")
    place.lists("artifact-2", Purpose.ARTIFACT)
    place.sign_with("artifact", "artifact-2")
    place.loses("artifact", index)
    assert place.promotes(before).status is PromotionStatus.APPLIED
    assert place.promotes(after).status is PromotionStatus.REJECTED
    place.backdates("model_artifacts", f"id = '{after.id}'", "created_at", before.created_at)
    assert place.promotes(after, "staging").status is PromotionStatus.REJECTED
    place.loses("artifact", 0)
    assert place.promotes(before, "staging").status is PromotionStatus.REJECTED


def test_a_compromised_audit_key_signs_no_entry_from_its_index_on_and_a_new_one_does(place: Place) -> None:
    place.registers("before")
    place.lists("audit-2", Purpose.AUDIT)
    size = place.entries()
    place.registers("meanwhile")
    place.sign_with("audit", "audit-2")
    place.registers("after")
    place.loses("audit", size + 2)  # a registration is two events
    assert place.findings() == []
    place.loses("audit", size + 1)
    assert [f"seq {size + 2}" in finding for finding in place.findings()] == [True]


def test_where_the_log_took_an_envelope_in_is_found_by_its_exact_bytes(place: Place) -> None:
    first, second = place.registers("first"), place.registers("second")
    with database.transaction(place.settings) as tx:
        kept = attestations.envelope(tx, second.attestation)
        found = evidence.taken_in(tx, kept, second.created_at)
        assert found is not None
        index, moment = found
        row = tx.execute(select(audit_events).where(audit_events.c.seq == index + 1)).one()
        assert (row.event_type, row.created_at, second.attestation in row.payload) == ("artifact.registered", moment, True)
        assert evidence.taken_in(tx, kept, first.created_at) == found
        assert evidence.taken_in(tx, kept, moment + timedelta(microseconds=1)) is None
        assert evidence.taken_in(tx, kept.replace(b'"payloadType"', b' "payloadType"'), second.created_at) is None


def test_finding_it_in_a_long_log_follows_the_index_from_the_row_s_own_time(settings: Settings) -> None:
    long_log.fill(settings, 6000, ROOT)
    with database.transaction(settings) as tx:
        query = evidence._NEXT_PAGE.compile(tx)
        values = {**query.params, "since": long_log.BEGAN, "digest": "0" * 64, "size": 100}
        plan = "\n".join(tx.exec_driver_sql(f"EXPLAIN {query}", values).scalars())
    assert "Index Scan using audit_events_created_at_key" in plan


def test_a_signer_that_is_not_listed_for_it_signs_nothing(place: Place) -> None:
    artifact = place.registers()
    place.sign_with("promotion", "artifact")
    with pytest.raises(
        Misconfigured, match=r"must not sign for the purpose promotion.*aiinfra trust add-key .*--purpose artifact --purpose"
    ):
        place.promotes(artifact)
    place.sign_with("promotion", "promotion")
    assert place.promotes(artifact).status is PromotionStatus.APPLIED


def test_a_key_for_one_environment_signs_for_no_other(place: Place) -> None:
    here = place.entry("promotion", Purpose.PROMOTION).model_copy(update={"environments": ("staging",)})
    place.change(lambda it: trust_editing.with_key(it, here, replace=True))
    artifact = place.registers()
    assert place.promotes(artifact, "staging").status is PromotionStatus.APPLIED
    with pytest.raises(Misconfigured, match="may not sign for the environment prod"):
        place.promotes(artifact, "prod")


def test_without_an_audit_key_that_counts_nothing_at_all_is_signed(place: Place) -> None:
    place.sign_with("audit", "somebody")
    with pytest.raises(Misconfigured, match="must not sign for the purpose audit"):
        place.registers()
    with database.transaction(place.settings) as tx:
        assert tx.execute(select(func.count()).select_from(model_artifacts)).scalar_one() == 0


def test_a_signer_elsewhere_is_pinned_to_the_key_the_trust_root_lists_under_its_name(place: Place) -> None:
    here = keys.signer_at(place.settings, "vault:release?address=https://vault.example&signer-id=promotion")
    assert here.public_key.keyid == place.keyid("promotion")
    for uri in ("vault:release?address=https://vault.example&signer-id=somebody", "vault:release?address=https://vault.example"):
        with pytest.raises(Misconfigured, match="pinned"):
            keys.signer_at(place.settings, uri)
    twice = place.entry("promotion-2", Purpose.PROMOTION).model_copy(update={"signer_id": "promotion"})
    place.change(lambda it: trust_editing.with_key(it, twice))
    with pytest.raises(Misconfigured, match="pinned"):
        keys.signer_at(place.settings, "vault:release?address=https://vault.example&signer-id=promotion&mount=other")


def test_a_log_that_is_not_listed_is_not_written(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"log_origin": "another.example/log"})
    with pytest.raises(Misconfigured, match=r"aiinfra trust renew --log another\.example/log"):
        place.registers()
    place.change(lambda it: trust_editing.with_log(it, "another.example/log"))
    place.registers()


def test_a_change_of_the_trust_files_is_seen_without_a_restart_and_an_older_one_is_refused(place: Place) -> None:
    pinned = place.trust / "1.root.json"
    first = trust_directory.opened(pinned)
    assert trust_directory.opened(pinned) is first
    before = trust_directory.read(place.trust)
    place.lists("audit-2", Purpose.AUDIT)
    assert trust_directory.opened(pinned).targets_version == 2
    (place.trust / "targets.json").write_bytes(before["targets.json"])
    with pytest.raises(EvidenceBroken, match="somebody leads us back"):
        trust_directory.opened(pinned)
