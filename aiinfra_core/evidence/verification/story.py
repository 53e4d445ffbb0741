"""The verified claims and entries of an export together, and finding one from another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.confirmation_predicates import Approval, Export, Withdrawal
from aiinfra_core.evidence.predicates import Promotion, PromotionExtension
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.evidence.verification.claims import Claim, Shape
from aiinfra_core.evidence.verification.log import Entry, Log

APPLIED, APPROVED, PENDING, STARTED = "promotion.applied", "promotion.approved", "promotion.pending", "rollout.started"


@dataclass(frozen=True)
class Manifest:
    """A promotion manifest, the entry that applied it, and the one that began its rollout, each None where none here did."""

    claim: Claim
    predicate: Promotion
    applied: Entry | None
    began: Entry | None

    @property
    def said(self) -> PromotionExtension:
        """Environment, sequence, what it follows, who asked."""
        return self.predicate.promotion

    @property
    def used(self) -> Entry | None:
        """The entry with which a promotion that was applied first got traffic: approvals and the gate's yes have to count there."""
        return (self.began or self.applied) if self.applied else None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.predicate.resource_uri.removeprefix("mlmodel://").partition("/")[0]

    @property
    def version(self) -> int:
        """The model's version."""
        return int(self.predicate.resource_uri.partition("?")[0].rpartition("/")[2])

    @property
    def inputs(self) -> tuple[str, ...]:
        """Digests of the statements it leans on."""
        return tuple(one.digest.sha256 for one in self.predicate.input_attestations)


@dataclass(frozen=True)
class Story:
    """What passed steps 1 to 4 and 9: `claims` by digest (attestations), `taken_in` digest -> the entry that took it in."""

    trust: Trust
    log: Log
    claims: Mapping[str, Claim]
    taken_in: Mapping[str, Entry]
    export: Claim | None
    files: Bundle

    def claim(self, digest: str, shape: type[Shape]) -> tuple[Claim, Shape]:
        """Return an attestation of a shape and what it says.

        Raises:
            EvidenceBroken: at `inputs`; it is not here, did not verify, or is another kind of statement.
        """
        claim = self.claims.get(digest)
        predicate = claim.saying(shape) if claim else None
        if claim is None or predicate is None:
            raise EvidenceBroken("inputs", f"the {shape.__name__.lower()} {digest} is missing or did not verify.")
        return claim, predicate

    def saying(self, shape: type[Shape]) -> Iterator[tuple[Claim, Shape]]:
        """Yield every attestation of a shape and what it says."""
        for digest in sorted(self.claims):
            predicate = self.claims[digest].saying(shape)
            if predicate is not None:
                yield self.claims[digest], predicate

    @property
    def exported(self) -> Export | None:
        """What the export's own statement says, where it verified."""
        return None if self.export is None else self.export.saying(Export)

    def manifests(self) -> list[Manifest]:
        """Return every promotion manifest, by environment and sequence."""
        return list(self._manifests)

    def manifest(self, digest: str | None) -> Manifest | None:
        """Return the manifest of a digest, None where it is not here."""
        return self._by_digest.get(digest or "")

    def move(self, event_type: str, manifest: str) -> Entry | None:
        """Return the first entry of this type that names a manifest."""
        return self._moves.get((event_type, manifest))

    def waited(self, manifest: Manifest) -> bool:
        """Return whether a promotion was not approved at once: people had to agree, or its policy had to be asked again."""
        return bool(manifest.said.approvals_required) or self.taken_in[manifest.claim.digest].event_type == PENDING

    def answers(self, promotion_id: str) -> list[Entry]:
        """Return the entries that took in what a gate said about a promotion, the first first."""
        return self._answers.get(promotion_id, [])

    def agreeing(self, manifest: str) -> list[tuple[Claim, Approval]]:
        """Return every approval of a manifest."""
        return self._agreeing.get(manifest, [])

    def withdrawing(self, approval: str) -> list[Claim]:
        """Return every withdrawal of an approval."""
        return self._withdrawing.get(approval, [])

    def about(self, subject: Subject, shape: type[Shape]) -> list[tuple[Claim, Shape]]:
        """Return every attestation of a shape about these bytes, and what it says."""
        told = ((claim, claim.saying(shape)) for claim in self._by_subject.get(subject, []))
        return [(claim, said) for claim, said in told if said is not None]

    @cached_property
    def _manifests(self) -> list[Manifest]:
        told = self.saying(Promotion)
        found = [Manifest(claim, it, self.move(APPLIED, claim.digest), self._starts.get(it.promotion.promotion_id)) for claim, it in told]
        return sorted(found, key=lambda one: (one.said.environment, one.said.sequence))

    @cached_property
    def _starts(self) -> dict[str, Entry]:
        """Return promotion -> the first entry that begins a rollout of it; step 14 checks that it is one."""
        found: dict[str, Entry] = {}
        for _, entry in sorted(self.log.entries.items()):
            promotion = entry.row("rollouts").get("promotion_id")
            if entry.event_type == STARTED and isinstance(promotion, str):
                found.setdefault(promotion, entry)
        return found

    @cached_property
    def _by_digest(self) -> dict[str, Manifest]:
        return {one.claim.digest: one for one in self._manifests}

    @cached_property
    def _moves(self) -> dict[tuple[str, str], Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for seq in sorted(self.log.entries):
            entry = self.log.entries[seq]
            digest = entry.event.get("digests", {}).get("manifest") if isinstance(entry.event.get("digests"), dict) else None
            if isinstance(digest, str):
                found.setdefault((entry.event_type, digest), entry)
        return found

    @cached_property
    def _answers(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for seq in sorted(self.log.entries):
            promotion = self.log.entries[seq].row("policy_decisions").get("promotion_id")
            if isinstance(promotion, str):
                found.setdefault(promotion, []).append(self.log.entries[seq])
        return found

    @cached_property
    def _agreeing(self) -> dict[str, list[tuple[Claim, Approval]]]:
        found: dict[str, list[tuple[Claim, Approval]]] = {}
        for claim, said in self.saying(Approval):
            found.setdefault(said.manifest, []).append((claim, said))
        return found

    @cached_property
    def _withdrawing(self) -> dict[str, list[Claim]]:
        found: dict[str, list[Claim]] = {}
        for claim, said in self.saying(Withdrawal):
            found.setdefault(said.approval, []).append(claim)
        return found

    @cached_property
    def _by_subject(self) -> dict[Subject, list[Claim]]:
        found: dict[Subject, list[Claim]] = {}
        for digest in sorted(self.claims):
            found.setdefault(self.claims[digest].statement.subject, []).append(self.claims[digest])
        return found

    def value(self, told: object) -> str | None:
        """Return a text that a row of the log holds, whole or by digest; None where it holds none, or the text is not here.

        Raises:
            EvidenceBroken: at `log row`; the text that is here is another one.
        """
        if not isinstance(told, dict):
            return told if isinstance(told, str) else None
        data = self.files.files.get(bundle.value_name(str(told.get("sha256"))))
        if data is None:
            return None
        if sha256(data).hexdigest() != told.get("sha256"):
            raise EvidenceBroken("log row", f"{bundle.value_name(str(told['sha256']))} has another digest.")
        return data.decode()
