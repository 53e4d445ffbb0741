"""Making and changing a trust directory: a set of files is verified in memory before the first of it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import BadInput, Conflict, NotFound
from aiinfra_core.evidence import root_editing, trust_editing, tuf_metadata
from aiinfra_core.evidence.root_editing import Lacking, RootPlan
from aiinfra_core.evidence.trust_root import TrustRoot, open_trust_root
from aiinfra_core.evidence.tuf_metadata import TARGETS, root_name, root_versions
from aiinfra_core.signing.signer import Signer
from aiinfra_core.trusting import directory

ROOT_DAYS = 365
TARGETS_DAYS = 90
_BEFORE_ANY_EXPIRY = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Waiting:
    """A root that does not count yet: whose signatures it lacks, and whether `targets.json` must be signed by its new targets key."""

    version: int
    lacking: tuple[Lacking, ...]
    targets_key: str | None


@dataclass(frozen=True)
class Standing:
    """What a trust directory holds: `opened` is None until the first root counts, `waiting` is None unless a root lacks signatures."""

    folder: Path
    opened: TrustRoot | None
    plan: RootPlan | None
    waiting: Waiting | None


def standing(folder: Path) -> Standing:
    """Return what a trust directory holds; what expired is told, not refused.

    Raises:
        NotFound: it holds no trust root.
        EvidenceBroken: its files do not verify.
    """
    files, pending = directory.files_of(folder), directory.pending_root(folder)
    versions = root_versions(files)
    if not versions and pending is None:
        raise NotFound(f"{folder} holds no trust root; make one with: aiinfra trust init")
    return Standing(
        folder,
        opened=_open(files) if versions else None,
        plan=root_editing.plan_of(files[root_name(versions[-1])]) if versions else None,
        waiting=None if pending is None else _waiting(files, pending),
    )


def begin(
    folder: Path,
    plan: RootPlan,
    trust: Trust,
    *,
    signers: Sequence[Signer],
    targets_signer: Signer,
    root_days: int = ROOT_DAYS,
    targets_days: int = TARGETS_DAYS,
) -> Standing:
    """Make a trust root. Without enough signatures its root waits in `pending/` for `sign`.

    Args:
        folder: the directory; made where it is missing.
        plan: who holds it.
        trust: whose signatures count.
        signers: those of the root's keys that are at hand.
        targets_signer: the plan's targets key.
        root_days: how long the root counts.
        targets_days: how long `targets.json` counts.

    Raises:
        Conflict: there is one already.
        BadInput: the keys do not fit the plan or the trust.
        Unavailable: a signer gave no signature that verifies.
    """
    with directory.locked(folder):
        if root_versions(directory.files_of(folder)) or directory.pending_root(folder) is not None:
            raise Conflict(f"{folder} holds a trust root already; look at it with: aiinfra trust show {folder}")
        _check_targets_signer(plan, targets_signer)
        files = trust_editing.signed_targets(trust, 1, _in_days(targets_days), targets_signer)
        root = _signed(root_editing.unsigned_root(1, plan, _in_days(root_days)), None, signers)
        directory.write_targets(folder, files)
        _settle(folder, files, root, targets_signer, targets_days)
    return standing(folder)


def change(
    folder: Path, edit: Callable[[Trust], Trust], targets_signer: Signer, *, days: int = TARGETS_DAYS, renew: bool = False
) -> Standing:
    """Change whose signatures count and sign it under the next version; a change that changes nothing is not signed.

    Args:
        folder: the directory.
        edit: from the trust that counts to the one that shall count.
        targets_signer: the targets key of the newest root.
        days: how long `targets.json` counts from now.
        renew: whether to sign anew though nothing changed.

    Raises:
        NotFound: there is no trust root that counts.
        BadInput: as `edit` raises, or the signer is not the targets key.
        EvidenceBroken: the files do not verify.
        Unavailable: the signer gave no signature that verifies.
    """
    with directory.locked(folder):
        files, (opened, plan) = directory.files_of(folder), _counting(folder)
        trust = edit(opened.trust)
        if trust != opened.trust or renew:
            _check_targets_signer(plan, targets_signer)
            new = trust_editing.signed_targets(trust, opened.targets_version + 1, _in_days(days), targets_signer)
            _open({**files, **new}, opened)
            directory.write_targets(folder, new)
    return standing(folder)


def rotate_root(
    folder: Path,
    change_plan: Callable[[RootPlan], RootPlan],
    signers: Sequence[Signer],
    targets_signer: Signer | None,
    *,
    days: int = ROOT_DAYS,
    replace: bool = False,
) -> Standing:
    """Make the next root and sign it with the keys at hand; it counts once enough keys of the old and of the new root signed it.

    Args:
        folder: the directory.
        change_plan: from who holds the root to who shall hold it; the same for nothing but a new expiry.
        signers: root keys at hand, old and new.
        targets_signer: the new targets key, needed where that changes before the root can count.
        days: how long the new root counts.
        replace: whether a root that waits gives way.

    Raises:
        NotFound: there is no trust root that counts.
        Conflict: another root waits for signatures.
        BadInput: the keys do not fit.
        EvidenceBroken: the files do not verify.
        Unavailable: a signer gave no signature that verifies.
    """
    with directory.locked(folder):
        files, (opened, plan) = directory.files_of(folder), _counting(folder)
        if directory.pending_root(folder) is not None and not replace:
            raise Conflict(f"Root {opened.root_version + 1} waits for signatures; sign it, or add --replace to begin anew.")
        previous = files[root_name(opened.root_version)]
        unsigned = root_editing.unsigned_root(opened.root_version + 1, change_plan(plan), _in_days(days))
        _settle(folder, files, _signed(unsigned, previous, signers), targets_signer, TARGETS_DAYS)
    return standing(folder)


def sign(folder: Path, signers: Sequence[Signer], targets_signer: Signer | None) -> Standing:
    """Add signatures to the root that waits, and let it count once there are enough.

    Raises:
        NotFound: no root waits.
        BadInput: a signer's key is none of those asked for.
        EvidenceBroken: the files do not verify.
        Unavailable: a signer gave no signature that verifies.
    """
    with directory.locked(folder):
        files, pending = directory.files_of(folder), directory.pending_root(folder)
        if pending is None:
            raise NotFound(f"No root in {folder} waits for signatures.")
        previous = files.get(root_name(_version(pending) - 1))
        _settle(folder, files, _signed(pending, previous, signers), targets_signer, TARGETS_DAYS)
    return standing(folder)


def _settle(folder: Path, files: Mapping[str, bytes], root: bytes, targets_signer: Signer | None, days: int) -> None:
    """Let a root count if nothing is missing, else keep it where it waits."""
    name, plan = root_name(_version(root)), root_editing.plan_of(root)
    waits = _waiting(files, root)
    if waits.lacking or (waits.targets_key and targets_signer is None):
        return directory.write_pending(folder, name, root)
    known = _open(files) if root_versions(files) else None
    targets: dict[str, bytes] = {}
    if waits.targets_key and targets_signer is not None and known is not None:
        _check_targets_signer(plan, targets_signer)
        targets = trust_editing.signed_targets(known.trust, known.targets_version + 1, _in_days(days), targets_signer)
    _open({**files, name: root, **targets}, known)
    return directory.write_root(folder, name, root, targets)


def _waiting(files: Mapping[str, bytes], root: bytes) -> Waiting:
    version, plan = _version(root), root_editing.plan_of(root)
    targets = tuf_metadata.parse_targets(files[TARGETS]) if TARGETS in files else None
    judge = tuf_metadata.parse_root(root, root_name(version)).signed
    fits = targets is not None and plan.targets_key in tuf_metadata.signed_by(judge, "targets", targets, TARGETS)
    lacking = tuple(root_editing.lacking(root, files.get(root_name(version - 1))))
    return Waiting(version, lacking, None if fits else plan.targets_key.keyid)


def _counting(folder: Path) -> tuple[TrustRoot, RootPlan]:
    found = standing(folder)
    if found.opened is None or found.plan is None:
        raise NotFound(f"The first root in {folder} still waits for signatures; add them with: aiinfra trust sign {folder} --key URI")
    return found.opened, found.plan


def _open(files: Mapping[str, bytes], known: TrustRoot | None = None) -> TrustRoot:
    return open_trust_root(
        files[root_name(root_versions(files)[0])],
        files,
        now=_BEFORE_ANY_EXPIRY,
        least_root_version=known.root_version if known else 0,
        least_targets_version=known.targets_version if known else 0,
    )


def _signed(root: bytes, previous: bytes | None, signers: Sequence[Signer]) -> bytes:
    for signer in signers:
        root = root_editing.signed_root(root, previous, signer)
    return root


def _check_targets_signer(plan: RootPlan, signer: Signer) -> None:
    if signer.public_key != plan.targets_key:
        raise BadInput(
            f"The key {signer.public_key.keyid[:16]} is not the root's targets key, which is {plan.targets_key.keyid[:16]};"
            " name that one with --targets-key."
        )


def _version(root: bytes) -> int:
    return tuf_metadata.parse_root(root, "the root that waits").signed.version


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
