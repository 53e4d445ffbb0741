"""Steps 6 and 13: the bytes of the model, and every other file of the export."""

from collections.abc import Mapping
from datetime import datetime

from aiinfra_core.checksums import sha256_hex, sums_text
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import bundle, sigstore_bundle
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.evidence.confirmation_predicates import Export
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.evidence.verification.claims import Claim
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Story


def check_bytes(files: Bundle, step: Step) -> Mapping[DigestKind, str]:
    """Hash the model, check it against `SHA256SUMS`, and return what its digest may be: of a directory, or of one file (6)."""
    hashed: dict[str, str] = {}
    digests: dict[DigestKind, str] = {}
    with step.at(bundle.MODEL):
        hashed = bundle.hash_model(files)
        if not hashed:
            raise BadInput("It holds no file.")
    with step.at(bundle.SUMS):
        sums = sums_text(hashed)
        digests[DigestKind.DIRECTORY] = sha256_hex(sums)
        if len(hashed) == 1:
            digests[DigestKind.FILE] = next(iter(hashed.values()))
        _compare(hashed, files.files.get(bundle.SUMS, b""), f"{bundle.MODEL}/", files, step)
    for name in files.refused:
        if name.startswith(f"{bundle.MODEL}/"):
            step.add(name, files.refused[name])
    step.found = f"{len(hashed)} files have the digests that {bundle.SUMS} lists"
    return digests


def check_subject(story: Story, digests: Mapping[DigestKind, str], registered: Mapping[str, Registered], step: Step) -> Registered | None:
    """Check that the bytes are those of a registration, the exported one where the export says so, and return it (6)."""
    exported = story.exported
    found = [one for one in registered.values() if digests.get(one.subject.digest_kind) == one.subject.checksum]
    if exported is not None:
        found = [one for one in found if one.predicate.artifact_id == exported.artifact_id]
    with step.at(bundle.MODEL):
        if not found:
            told = " or ".join(f"{kind} {digest}" for kind, digest in digests.items())
            raise EvidenceBroken("subject", f"its bytes ({told}) are not those that were registered as what is exported.")
        step.found = (
            f"{bundle.MODEL}/ is {found[0].predicate.model}:{found[0].version}, {found[0].subject.digest_kind} {found[0].subject.checksum}"
        )
        return found[0]
    return None


def check_files(files: Bundle, step: Step) -> None:
    """Check every file but the model's against the list of files (13)."""
    for name, reason in files.refused.items():
        step.add(name, reason)
    unlisted = {bundle.FILES, bundle.STATEMENT}
    found = {name: sha256_hex(data) for name, data in files.files.items() if name not in unlisted}
    _compare(found, files.files.get(bundle.FILES, b""), "", files, step)
    for name, data in files.below("bundles").items():
        with step.at(f"bundles/{name}"):
            _check_bundle(files, name.removesuffix(".sigstore.json"), data)


def check_statement(story: Story, subject: Registered | None, step: Step) -> None:
    """Check what the export says of itself (13)."""
    with step.at(bundle.STATEMENT):
        if story.export is None or story.exported is None:
            raise EvidenceBroken("export", "its statement is missing or did not verify.")
        _check_said(story, story.export, story.exported, subject)
        step.found = f"{len(story.files.files)} files are as they were when the export was signed at {story.exported.exported_at}"


def _check_said(story: Story, claim: Claim, said: Export, subject: Registered | None) -> None:
    if sha256_hex(story.files.files.get(bundle.FILES, b"")) != said.files:
        raise EvidenceBroken("export", f"{bundle.FILES} is not the list of files that was signed.")
    head = story.log.checkpoint
    if (said.head.origin, said.head.size, said.head.root) != (head.origin, head.size, head.root.hex()):
        raise EvidenceBroken("export", "the checkpoint is not the one it was made at.")
    if datetime.fromisoformat(said.exported_at) < story.log.created_at:
        raise EvidenceBroken("export", "it says it was made before the last entry of its log.")
    if (said.environment is None) != (said.current is None):
        raise EvidenceBroken("export", "it names an environment without what is current there, or the other way round.")
    if subject is not None and _said_subject(claim, said) != (
        subject.subject,
        subject.predicate.artifact_id,
        subject.predicate.model,
        subject.version,
    ):
        raise EvidenceBroken("export", "it is about another artifact or version than was registered.")


def _said_subject(claim: Claim, said: Export) -> tuple[Subject, str, str, int]:
    return claim.statement.subject, said.artifact_id, said.model, said.version


def _check_bundle(files: Bundle, digest: str, data: bytes) -> None:
    envelope = files.files.get(bundle.attestation_name(digest))
    if envelope is None or sigstore_bundle.bundle(envelope) != data:
        raise EvidenceBroken("bundle", "it is not the attestation of that digest.")


def _compare(found: Mapping[str, str], sums: bytes, prefix: str, files: Bundle, step: Step) -> None:
    """Compare files that were hashed with the list of sums that is about them, and name each that differs."""
    lines = (line.split("  ", 1) for line in sums.decode(errors="replace").splitlines())
    listed = {parts[1]: parts[0] for parts in lines if len(parts) == 2}
    before = len(step.problems)
    for name in sorted(found.keys() | listed.keys()):
        if name not in listed:
            step.add(prefix + name, "It is not in the list of sums: it was added.")
        elif name not in found and prefix + name not in files.refused:
            step.add(prefix + name, "It is in the list of sums, but not here: it was taken away.")
        elif name in found and found[name] != listed[name]:
            step.add(prefix + name, "It is not the file that was listed: it was changed.")
    if len(step.problems) == before and sums_text(found) != sums:
        step.add(bundle.SUMS if prefix else bundle.FILES, "It is not written as sha256sum writes it, sorted.")
