"""Making TUF roots in memory and collecting their signatures. What is made here is believed only through `trust_root`."""

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import Metadata, Role, Root

from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import tuf_metadata
from aiinfra_core.evidence.tuf_metadata import root_name
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer, sign_verified

_ALGORITHM = "ed25519"


@dataclass(frozen=True)
class RootPlan:
    """Who may sign the next root, how many of them must, and which key signs `targets.json`."""

    keys: tuple[PublicKey, ...]
    threshold: int
    targets_key: PublicKey

    def __post_init__(self) -> None:
        if len({key.raw for key in self.keys}) != len(self.keys):
            raise BadInput("A root key is named twice; name each once.")
        if not 1 <= self.threshold <= len(self.keys):
            raise BadInput(f"A threshold of {self.threshold} cannot be met: the root keys are {len(self.keys)}.")


@dataclass(frozen=True)
class Lacking:
    """How many more keys of a root's signers must sign, and the keyids of those who can and have not."""

    version: int
    signatures: int
    can_sign: tuple[str, ...]


def unsigned_root(version: int, plan: RootPlan, expires: datetime) -> bytes:
    """Return a root that nobody has signed yet; `expires` is cut to whole seconds."""
    keys = {key.keyid: SSlibKey(key.keyid, _ALGORITHM, _ALGORITHM, {"public": key.raw.hex()}) for key in (*plan.keys, plan.targets_key)}
    # TUF wants all four roles to be there; snapshot and timestamp are never used here.
    roles = {name: Role([plan.targets_key.keyid], 1) for name in ("targets", "snapshot", "timestamp")}
    roles["root"] = Role([key.keyid for key in plan.keys], plan.threshold)
    root = Root(version=version, expires=expires, keys=dict(keys), roles=roles, consistent_snapshot=False)
    return Metadata(root).to_bytes()


def plan_of(root: bytes) -> RootPlan:
    """Return what a root says, not verified.

    Raises:
        EvidenceBroken: at `trust root`; it is no root, or one that other software made in a way this product does not.
    """
    parsed = tuf_metadata.parse_root(root, "the root").signed
    keys = tuple(tuf_metadata.key_of(parsed, keyid, "the root") for keyid in parsed.roles["root"].keyids)
    targets = [tuf_metadata.key_of(parsed, keyid, "the root") for keyid in parsed.roles["targets"].keyids]
    if len(targets) != 1:
        raise BadInput(f"The root names {len(targets)} targets keys; this product edits roots with one.")
    return RootPlan(keys, parsed.roles["root"].threshold, targets[0])


def signed_root(root: bytes, previous: bytes | None, signer: Signer) -> bytes:
    """Return a root with one more signature; signed twice by the same key it has one.

    Raises:
        BadInput: the signer's key is neither among its root keys nor among those of the root before.
        Unavailable: the signer gave no signature that verifies.
    """
    key, metadata = signer.public_key, _parsed(root)
    ids = {keyid for one in _judges(root, previous) for keyid in one.roles["root"].keyids if _key(one, keyid) == key}
    if not ids:
        raise BadInput(f"The key {key.keyid[:16]} is no root key of {root_name(metadata.signed.version)} nor of the root before it.")
    signature = sign_verified(signer, metadata.signed_bytes).hex()
    metadata.signatures.update({keyid: Signature(keyid, signature) for keyid in ids})
    return metadata.to_bytes()


def lacking(root: bytes, previous: bytes | None) -> list[Lacking]:
    """Return whose signatures a root still needs: none when it counts, else one entry per root whose threshold is not met."""
    metadata, found = _parsed(root), []
    for judge in _judges(root, previous):
        signed = tuf_metadata.signed_by(judge, "root", metadata, "the root")
        unsigned = tuple(keyid for keyid in judge.roles["root"].keyids if _key(judge, keyid) not in signed)
        if len(signed) < judge.roles["root"].threshold:
            found.append(Lacking(judge.version, judge.roles["root"].threshold - len(signed), unsigned))
    return found


def _judges(root: bytes, previous: bytes | None) -> list[Root]:
    return [_parsed(data).signed for data in (previous, root) if data is not None]


def _parsed(root: bytes) -> Metadata[Root]:
    return tuf_metadata.parse_root(root, "the root")


def _key(root: Root, keyid: str) -> PublicKey:
    return tuf_metadata.key_of(root, keyid, "the root")
