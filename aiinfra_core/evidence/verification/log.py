"""Steps 9 and 10: the log's entries, the checkpoint they lead to, and whether the log continues what was seen before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

from aiinfra_core import canonical_json, merkle
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle, checkpoint, consistency_proof, entry, log_proof, trust
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.report import Step

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """An entry of the log that passed step 9; `event` is its payload, read."""

    place: str
    seq: int
    hash: str
    prev_hash: str | None
    created_at: datetime
    event_type: str
    event: Row

    @property
    def index(self) -> int:
        """Where it stands in the tree, from 0."""
        return self.seq - 1

    @property
    def rows(self) -> Mapping[str, Row]:
        """Every row that the event tells of, by its table."""
        rows = self.event.get("rows")
        return {name: row for name, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}

    def row(self, table: str) -> Row:
        """Return the row of a table that the event tells of, empty where it tells of none."""
        rows = self.event.get("rows")
        row = rows.get(table) if isinstance(rows, dict) else None
        return row if isinstance(row, dict) else {}


@dataclass(frozen=True)
class Log:
    """What is known of the log: its entries by seq, and its checkpoint with the time of the last entry it covers."""

    entries: Mapping[int, Entry]
    checkpoint: Checkpoint
    created_at: datetime


def read_log(files: Bundle, root: Trust, step: Step) -> Log | None:
    """Return the log as far as it verifies, None where no checkpoint does (9)."""
    note = files.files.get(bundle.CHECKPOINT, b"")
    opened: tuple[Checkpoint, TrustedKey] | None = None
    with step.at(bundle.CHECKPOINT):
        opened = _opened(note, root)
    if opened is None:
        return None
    head, signer = opened
    entries = {}
    for name, data in files.below("events").items():
        with step.at(f"events/{name}"):
            found = _entry(f"events/{name}", data, files, head, note, root)
            entries[found.seq] = found
    _check_order(entries, step)
    for name in files.below("proofs").keys() - {name.replace(".json", ".tlog-proof") for name in files.below("events")}:
        step.add(f"proofs/{name}", "It proves an entry that is not here.")
    last = entries.get(head.size)
    if last is None:
        step.add(bundle.event_name(head.size), "The last entry under the checkpoint is missing or broken, so nothing tells its time.")
        return None
    with step.at(bundle.CHECKPOINT):
        trust.may_sign(signer, Purpose.AUDIT, at=last.created_at, index=last.index)
    step.found = f"{len(entries)} entries are signed and proven to be in the log of {head.size} at {timestamp(last.created_at)}"
    return Log(entries, head, last.created_at)


def taken_in(claims: list[Claim], log: Log, step: Step) -> dict[str, Entry]:
    """Return digest -> the first entry that took the attestation in, byte for byte (9)."""
    by_digest: dict[str, Entry] = {}
    for seq in sorted(log.entries):
        digest = log.entries[seq].row("attestations").get("digest")
        if isinstance(digest, str):
            by_digest.setdefault(digest, log.entries[seq])
    found = {}
    for claim in claims:
        if claim.place != bundle.STATEMENT:
            with step.at(claim.place):
                found[claim.digest] = _taken_in(claim, by_digest.get(claim.digest))
    return found


def check_consistency(files: Bundle, head: Checkpoint, seen: bytes | None, root: Trust, step: Step) -> None:
    """Check every proof that the log continues an earlier checkpoint, and that it continues the one that was seen (10)."""
    proven = {}
    for name, data in files.below("consistency").items():
        with step.at(f"consistency/{name}"):
            size, old_root = _check_proof(name, data, head)
            proven[size] = old_root
    if seen is None:
        return step.does_not_apply("no checkpoint was given that was seen before (--last-checkpoint)")
    with step.at(bundle.CHECKPOINT):
        _check_continues(seen, head, proven, root)
        step.found = "the log continues the checkpoint that was seen before"
    return None


def _opened(note: bytes, root: Trust) -> tuple[Checkpoint, TrustedKey]:
    origin = checkpoint.parse(note).origin
    if origin not in root.logs:
        raise EvidenceBroken("checkpoint", f"it is of the log {origin!r}, which the trust root does not list.")
    head, key = checkpoint.open_checkpoint(note, origin, trust.listed_keys(root, Purpose.AUDIT).values())
    return head, trust.listed(root, key.keyid)


def _entry(place: str, data: bytes, files: Bundle, head: Checkpoint, note: bytes, root: Trust) -> Entry:
    row = entry.read_leaf(data)
    if place != bundle.event_name(row["seq"]):
        raise EvidenceBroken("entry", f"it is of seq {row['seq']}, which is not its name.")
    entry.check(row)
    keyid = entry.check_signature(row, trust.keys_for(root, Purpose.AUDIT, at=row["created_at"], index=row["seq"] - 1))
    if trust.listed(root, keyid).signer_id != row["signer_id"]:
        raise EvidenceBroken("entry", f"it names the signer {row['signer_id'][:64]!r}, but another signed it.")
    _check_inclusion(row["seq"], data, files, head, note)
    event = canonical_json.loads(row["payload"], what="The payload")
    return Entry(place, row["seq"], row["hash"], row["prev_hash"], row["created_at"], row["event_type"], event)


def _check_inclusion(seq: int, data: bytes, files: Bundle, head: Checkpoint, note: bytes) -> None:
    name = bundle.proof_name(seq)
    if name not in files.files:
        raise EvidenceBroken("inclusion proof", f"{name} is missing.")
    proof = log_proof.parse(files.files[name])
    if proof.index != seq - 1 or proof.checkpoint != note:
        raise EvidenceBroken("inclusion proof", f"{name} is of another entry, or leads to another checkpoint.")
    log_proof.verify(proof, data, head)


def _check_order(entries: Mapping[int, Entry], step: Step) -> None:
    for before, after in pairwise(sorted(entries)):
        earlier, later = entries[before], entries[after]
        if earlier.created_at >= later.created_at:
            step.add(later.place, "It is not later than the entry before it.")
        if after == before + 1 and later.prev_hash != earlier.hash:
            step.add(later.place, "It does not follow the entry before it.")


def _taken_in(claim: Claim, found: Entry | None) -> Entry:
    if found is None:
        raise EvidenceBroken("log", "no entry of the log here took it in.")
    row = found.row("attestations")
    expected = {
        "envelope": {"sha256": sha256(claim.envelope).hexdigest(), "size": len(claim.envelope)},
        "predicate_type": claim.statement.predicate_type,
        "subject_checksum": claim.statement.subject.checksum,
    }
    different = [name for name, value in expected.items() if row.get(name) != value]
    if row.get("signer_id") not in {signer.signer_id for signer in claim.signers}:
        different.append("signer_id")
    if different:
        raise EvidenceBroken("log", f"{found.place} took in another {', '.join(different)}.")
    return found


def _check_proof(name: str, data: bytes, head: Checkpoint) -> tuple[int, bytes]:
    proof = consistency_proof.parse(data)
    if str(proof.size) != name:
        raise EvidenceBroken("consistency", f"it is of size {proof.size}, which is not its name.")
    consistency_proof.verify(proof, head)
    return proof.size, proof.root


def _check_continues(seen: bytes, head: Checkpoint, proven: Mapping[int, bytes], root: Trust) -> None:
    old, _ = checkpoint.open_checkpoint(seen, head.origin, trust.listed_keys(root, Purpose.AUDIT).values())
    if old.size > head.size:
        raise EvidenceBroken(
            "consistency", f"the log was seen with {old.size} entries before, and has {head.size} here: it is older, or cut."
        )
    if old.size == head.size:
        return merkle.verify_consistency(old.size, old.root, head.size, head.root, [])
    if old.size not in proven:
        raise EvidenceBroken(
            "consistency",
            f"there is no proof here from the {old.size} entries seen before; have it exported again with --since that checkpoint.",
        )
    if proven[old.size] != old.root:
        raise EvidenceBroken("consistency", f"the log's first {old.size} entries are not those seen before: it was rewritten.")
    return None
