"""The verified claims and entries of an export together, and finding one from another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.predicates import Export, Promotion, PromotionExtension
from aiinfra_core.evidence.verification.claims import Claim, Shape
from aiinfra_core.evidence.verification.log import Entry, Log

APPLIED = "promotion.applied"


@dataclass(frozen=True)
class Manifest:
    """A promotion manifest, and the entry that applied it, None where none here did."""

    claim: Claim
    predicate: Promotion
    applied: Entry | None

    @property
    def said(self) -> PromotionExtension:
        """Environment, sequence, what it follows, who asked."""
        return self.predicate.promotion

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
        applied: dict[str, Entry] = {}
        for seq in sorted(self.log.entries):
            entry = self.log.entries[seq]
            digest = entry.event.get("digests", {}).get("manifest") if isinstance(entry.event.get("digests"), dict) else None
            if entry.event_type == APPLIED and isinstance(digest, str):
                applied.setdefault(digest, entry)
        found = [Manifest(claim, predicate, applied.get(claim.digest)) for claim, predicate in self.saying(Promotion)]
        return sorted(found, key=lambda one: (one.said.environment, one.said.sequence))
