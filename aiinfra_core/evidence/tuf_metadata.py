"""TUF metadata as this product reads it: strictly parsed, Ed25519 keys only, thresholds over distinct keys.

Which files follow from which lives in `trust_root`, making new ones in `trust_editing`.
"""

import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from aiinfra_core import canonical_json
from aiinfra_core.errors import AiInfraError, EvidenceBroken
from aiinfra_core.signing.public_key import PublicKey

_SIGNING_LIBRARIES = frozenset({"boto3", "botocore", "azure", "google", "pkcs11", "hvac", "keylet"})


class _WithoutSigningLibraries:
    """Tells one thread that the libraries for signing in a cloud are not installed."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def find_spec(self, name: str, *_: object) -> None:
        if threading.get_ident() == self.thread and name.partition(".")[0] in _SIGNING_LIBRARIES:
            raise ModuleNotFoundError(name)


# tuf loads every signer it knows, which costs half a second where boto3 is installed; to verify, none is needed.
@contextmanager
def _quick_import() -> Iterator[None]:
    finder = _WithoutSigningLibraries()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _quick_import():
    from tuf.api.metadata import Metadata, Root, Targets

TARGETS = "targets.json"
TRUST = "trust.json"
ROOT_NAME = re.compile(r"([1-9][0-9]{0,5})\.root\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_METADATA_BYTES = 256 * 1024
MAX_ROOTS = 1000


def root_name(version: int) -> str:
    """Return the file name of a root."""
    return f"{version}.root.json"


def is_trust_file(name: str) -> bool:
    """Return whether a trust directory has a file of this name."""
    return name in (TARGETS, TRUST) or ROOT_NAME.fullmatch(name) is not None


def root_versions(files: Mapping[str, bytes]) -> list[int]:
    """Return the versions of the roots among these files, lowest first."""
    return sorted(int(match[1]) for match in map(ROOT_NAME.fullmatch, files) if match)


def parse_root(data: bytes, name: str) -> Metadata[Root]:
    """Read a root without believing it.

    Raises:
        EvidenceBroken: at `trust root`; it is no TUF root metadata, or lists a key that is not a sound Ed25519 key.
    """
    metadata = _parse(data, name)
    root = metadata.signed
    if not isinstance(root, Root):
        _refuse(name, f"is {root.type} metadata, not a root")
    for role in root.roles.values():
        if type(role.threshold) is not int or not isinstance(role.keyids, list):
            _refuse(name, "has a role whose threshold or keys are malformed")
    for keyid in root.keys:
        key_of(root, keyid, name)
    return metadata


def parse_targets(data: bytes) -> Metadata[Targets]:
    """Read `targets.json` without believing it.

    Raises:
        EvidenceBroken: at `trust root`; it is no TUF targets metadata.
    """
    metadata = _parse(data, TARGETS)
    if not isinstance(metadata.signed, Targets):
        _refuse(TARGETS, f"is {metadata.signed.type} metadata, not targets")
    return metadata


def named_trust(targets: bytes) -> str:
    """Return the SHA-256 that a `targets.json`, not verified, gives for `trust.json`.

    Raises:
        EvidenceBroken: at `trust root`; it is no TUF targets metadata, or does not name `trust.json` alone with its SHA-256.
    """
    named = parse_targets(targets).signed.targets
    if set(named) != {TRUST} or set(named[TRUST].hashes) != {"sha256"}:
        _refuse(TARGETS, f"does not name {TRUST} alone, with its SHA-256")
    digest = named[TRUST].hashes["sha256"]
    return digest if _SHA256.fullmatch(digest) else _refuse(TARGETS, f"names {TRUST} by something that is no SHA-256")


def key_of(root: Root, keyid: str, name: str) -> PublicKey:
    """Return a key that a root lists.

    Raises:
        EvidenceBroken: at `trust root`; it is not listed, or not a sound Ed25519 key.
    """
    key = root.keys.get(keyid)
    if key is None:
        _refuse(name, f"names the key {keyid[:16]!r} without listing it")
    if (key.keytype, key.scheme) != ("ed25519", "ed25519"):
        _refuse(name, f"lists a key that is {key.keytype[:20]!r}, where only ed25519 counts")
    try:
        return PublicKey(bytes.fromhex(key.keyval["public"]))
    except (AiInfraError, ValueError, KeyError, TypeError):
        _refuse(name, f"lists a key, {keyid[:16]!r}, that is not a sound Ed25519 key")


def signed_by(root: Root, role: str, metadata: Metadata[Root] | Metadata[Targets], name: str) -> set[PublicKey]:
    """Return the distinct keys of a role whose signature over the metadata verifies; two keyids of one key are one key.

    Raises:
        EvidenceBroken: at `trust root`; the metadata cannot be verified at all.
    """
    try:
        result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except Exception as error:  # noqa: BLE001 - the library's own errors on hostile metadata are many
        _refuse(name, f"cannot be verified ({type(error).__name__})")
    return {key_of(root, keyid, name) for keyid in result.signed}


def require_threshold(root: Root, role: str, metadata: Metadata[Root] | Metadata[Targets], name: str) -> None:
    """Check that enough distinct keys of a root's role signed the metadata.

    Raises:
        EvidenceBroken: at `trust root`, saying how many did.
    """
    signed, needed = len(signed_by(root, role, metadata, name)), root.roles[role].threshold
    if signed < needed:
        raise EvidenceBroken("trust root", f"{name} is signed by {signed} of the {needed} {role} keys that root {root.version} asks for.")


def _parse(data: bytes, name: str) -> Metadata[Any]:
    if len(data) > MAX_METADATA_BYTES:
        _refuse(name, f"is larger than {MAX_METADATA_BYTES} bytes")
    try:
        metadata: Metadata[Any] = Metadata.from_dict(canonical_json.loads(data, what=name))
        version, _ = metadata.signed.version, metadata.signed_bytes
    except Exception:  # noqa: BLE001 - the library's own errors on hostile metadata are many
        _refuse(name, "is not TUF metadata")
    if type(version) is not int:
        _refuse(name, "has a version that is not a whole number")
    return metadata


def _refuse(name: str, problem: str) -> NoReturn:
    raise EvidenceBroken("trust root", f"{name} {problem}.")
