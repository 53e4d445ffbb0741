"""Steps 11 and 12: the promotions of each environment in their order, and whether the last one is what is current."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import groupby

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.evidence.trust import may_sign
from aiinfra_core.evidence.verification.log import Entry
from aiinfra_core.evidence.verification.records import Registered, agree, told_by
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import APPLIED, APPROVED, PENDING, Manifest, Story

CLOCKS_MAY_DIFFER = timedelta(minutes=5)


def check_sequence(story: Story, registered: Mapping[str, Registered], step: Step) -> None:
    """Check each promotion against the entries that approved and applied it, and their order in each environment (11)."""
    manifests = story.manifests()
    for (model, environment), group in groupby(manifests, key=lambda one: (one.model, one.said.environment)):
        _check_chain(list(group), f"{model}@{environment}", step)
    for manifest in manifests:
        with step.at(manifest.claim.place):
            _check_moves(story, manifest, registered)
    _check_nothing_else_applied(story, manifests, step)
    with step.at(bundle.STATEMENT):
        _check_exported(story, manifests)
    ends = {(one.model, one.said.environment): one.said.sequence for one in manifests}
    step.found = "; ".join(f"{model}@{environment} rises from 1 to {last}" for (model, environment), last in ends.items())
    if not manifests:
        step.does_not_apply("nothing in this export was promoted to all traffic")


def check_current(story: Story, now: datetime, max_age: timedelta | None, step: Step) -> None:
    """Check that the export is fresh, by a key that is good today, and says what an environment points to (12)."""
    if max_age is None:
        return step.does_not_apply("not asked (--current)")
    exported = story.exported
    with step.at(bundle.STATEMENT):
        if story.export is None or exported is None or exported.current is None:
            raise EvidenceBroken("current", "the export is about no environment, so nothing in it is current.")
        made = datetime.fromisoformat(exported.exported_at)
        if not now - max_age <= made <= now + CLOCKS_MAY_DIFFER:
            raise EvidenceBroken(
                "current", f"it was made at {timestamp(made)}, and at most {max_age} ago counts now; have it exported again."
            )
        for signer in story.export.signers:
            may_sign(signer, Purpose.AUDIT, at=now, index=None, environment=exported.environment)
        step.found = f"sequence {exported.current.sequence} is what {exported.environment} pointed to at {timestamp(made)}"
    return None


def _check_chain(chain: list[Manifest], name: str, step: Step) -> None:
    follows, last_seq = None, 0
    for sequence, manifest in enumerate(chain, start=1):
        with step.at(manifest.claim.place):
            if manifest.said.sequence != sequence:
                raise EvidenceBroken("sequence", f"{name} has sequence {manifest.said.sequence} where {sequence} must be.")
            if manifest.said.follows != follows:
                raise EvidenceBroken("sequence", f"sequence {sequence} of {name} does not follow the one before it.")
            if manifest.applied is not None and manifest.applied.seq <= last_seq:
                raise EvidenceBroken("sequence", f"sequence {sequence} of {name} was applied before the one it follows.")
        follows, last_seq = manifest.claim.digest, manifest.applied.seq if manifest.applied else last_seq


def _check_moves(story: Story, manifest: Manifest, registered: Mapping[str, Registered]) -> None:
    if manifest.applied is None:
        raise EvidenceBroken("sequence", "no entry here applied it, so it does not count.")
    said = manifest.said
    if manifest.predicate.resource_uri != f"mlmodel://{manifest.model}/{manifest.version}?env={said.environment}":
        raise EvidenceBroken("sequence", "its resource is of another environment.")
    artifact_id = next((registered[digest].predicate.artifact_id for digest in manifest.inputs if digest in registered), None)
    row: dict[str, object] = {
        "id": said.promotion_id,
        "artifact_id": artifact_id,
        "model": manifest.model,
        "environment": said.environment,
        "sequence_seen": said.sequence - 1,
        "follows": said.follows,
        "requested_by": said.requested_by,
        "manifest": manifest.claim.digest,
    }
    approved = _approved(story, manifest, row)
    agree(approved.place, approved.row("model_promotions"), row | {"status": "approved"})
    if approved.seq >= (manifest.began or manifest.applied).seq:
        raise EvidenceBroken("sequence", "it was applied, or its rollout began, before it was approved.")
    _check_applied(manifest.applied, row, said.sequence)


def _approved(story: Story, manifest: Manifest, row: dict[str, object]) -> Entry:
    """Return the entry that approved a promotion: the one that took its manifest in, unless it waited from there on."""
    if not story.waited(manifest):
        return told_by(story, manifest.claim, APPROVED)
    pending = told_by(story, manifest.claim, PENDING)
    waiting = pending.row("model_promotions")
    required = canonical_json.dumps(manifest.said.approvals_required or {}).decode()
    agree(pending.place, waiting, row | {"status": "pending_approval", "approvals_required": required})
    approved = story.move(APPROVED, manifest.claim.digest)
    if approved is None or approved.seq <= pending.seq:
        raise EvidenceBroken("sequence", "it waited, and no entry here says that everybody agreed.")
    return approved


def _check_applied(applied: Entry, row: dict[str, object], sequence: int) -> None:
    agree(applied.place, applied.row("model_promotions"), row | {"status": "applied"})
    pointer = {name: row[name] for name in ("environment", "model", "artifact_id")}
    agree(applied.place, applied.row("environment_pointers"), pointer | {"promotion_id": row["id"], "sequence": sequence})


def _check_nothing_else_applied(story: Story, manifests: list[Manifest], step: Step) -> None:
    known = {manifest.applied.seq for manifest in manifests if manifest.applied}
    said = story.exported
    current_of = (said.model, said.environment) if said else None
    for seq, entry in sorted(story.log.entries.items()):
        pointer = entry.row("environment_pointers")
        # The last entry is here for its time, whatever it is about; only what it makes current may not be left out.
        is_ours = seq != story.log.checkpoint.size or (pointer.get("model"), pointer.get("environment")) == current_of
        if entry.event_type == APPLIED and seq not in known and is_ours:
            step.add(entry.place, "It applied a promotion whose manifest is missing, did not verify, or was applied before.")


def _check_exported(story: Story, manifests: list[Manifest]) -> None:
    exported = story.exported
    if exported is None or exported.environment is None or exported.current is None:
        return
    chain = [one for one in manifests if (one.model, one.said.environment) == (exported.model, exported.environment)]
    if not chain or (chain[-1].said.sequence, chain[-1].claim.digest) != (exported.current.sequence, exported.current.manifest):
        raise EvidenceBroken("sequence", f"what it says is current in {exported.environment} is not the last promotion here.")
    if chain[-1].version != exported.version:
        raise EvidenceBroken("sequence", f"version {exported.version} is exported, but {chain[-1].version} is current.")
    return
