"""Trust roots of a test's own, in memory: keys by name, roots, targets."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.evidence import root_editing, trust_editing
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.signing.local import LocalSigner

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=365)


def signer(name: str) -> LocalSigner:
    """Return the same key for the same name."""
    return LocalSigner(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()), name)


def trusted(name: str, *purposes: Purpose, **more: Any) -> TrustedKey:
    key = signer(name).public_key
    given = {"signer_id": name, "owner": name, "purposes": purposes or (Purpose.PROMOTION,)} | more
    return TrustedKey(keyid=key.keyid, public_key=key.base64, **given)


def trust_of(*keys: TrustedKey, **more: Any) -> Trust:
    return Trust(keys=keys, logs=("test.example/log",), **more)


def plan(*names: str, threshold: int = 1, targets: str = "targets") -> RootPlan:
    return RootPlan(tuple(signer(name).public_key for name in names), threshold, signer(targets).public_key)


def root(version: int, of: RootPlan, *signed_by: str, previous: bytes | None = None, expires: datetime = LATER) -> bytes:
    data = root_editing.unsigned_root(version, of, expires)
    for name in signed_by:
        data = root_editing.signed_root(data, previous, signer(name))
    return data


def targets(trust: Trust, *, version: int = 1, signed_by: str = "targets", expires: datetime = LATER) -> dict[str, bytes]:
    return trust_editing.signed_targets(trust, version, expires, signer(signed_by))


def files(trust: Trust | None = None, *, threshold: int = 1, version: int = 1, names: tuple[str, ...] = ("alice",)) -> dict[str, bytes]:
    """Return a whole trust directory with one root."""
    return {
        "1.root.json": root(1, plan(*names, threshold=threshold), *names[:threshold]),
        **targets(trust or trust_of(trusted("ci")), version=version),
    }


def rotated(before: Mapping[str, bytes], version: int, of: RootPlan, *signed_by: str, **more: Any) -> dict[str, bytes]:
    """Return the directory with the next root; the targets stay."""
    return {**before, f"{version}.root.json": root(version, of, *signed_by, previous=before[f"{version - 1}.root.json"], **more)}


def changed(data: bytes, **fields: Any) -> bytes:
    """Return signed metadata with other fields under the same signatures."""
    value = canonical_json.loads(data)
    value["signed"] |= fields
    return canonical_json.dumps(value)


def signed_anew(data: bytes, *names: str, keyids: Mapping[str, str] | None = None, **fields: Any) -> bytes:
    """Return metadata with other fields, signed by these keys over the bytes TUF signs (its canonical JSON)."""
    value = canonical_json.loads(changed(data, **fields))
    signed = encode_canonical(value["signed"])
    assert signed is not None
    value["signatures"] = [
        {"keyid": (keyids or {}).get(name, signer(name).public_key.keyid), "sig": signer(name).sign(signed.encode()).hex()}
        for name in names
    ]
    return canonical_json.dumps(value)
