"""Everything here that reads bytes nobody vouches for, each with one good input and what it means: what fuzzing is asked of."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any
from uuid import UUID

from aiinfra_core import canonical_json, merkle
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.errors import AiInfraError
from aiinfra_core.evidence import checkpoint, dsse, entry, log_proof, note, sigstore_bundle, statement, trust_root
from aiinfra_core.evidence.chain import Head, follow
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.log_proof import LogProof
from aiinfra_core.evidence.root_editing import RootPlan, signed_root, unsigned_root
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.evidence.trust_editing import signed_targets
from aiinfra_core.signing import local, public_key
from tests.simulators import sample_statements

SIGNER = local.from_base64(base64.b64encode(bytes(range(32))).decode())
SECOND = local.from_base64(base64.b64encode(b"\x05" * 32).decode())
LOG = "log.example/models"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
EXPIRES = datetime(2027, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Parser:
    """`read` returns what bytes mean; whatever it accepts must mean the same as `good`, as that was signed or is the one spelling."""

    good: bytes
    read: Callable[[bytes], object]


def check(parser: Parser, data: bytes) -> bool:
    """Return whether bytes were accepted; fail where they crash the parser or are accepted as something else."""
    try:
        found = parser.read(data)
    except AiInfraError:
        return False
    assert found == parser.read(parser.good), f"accepted as something else: {found!r}"
    return True


def _event() -> bytes:
    payload = canonical_json.dumps(
        {"actor": "ada", "digests": {}, "request_id": "r-1", "rows": {}, "subject": {"model": "rainfall"}, "time": timestamp(NOW)}
        | {"id": str(UUID(int=7)), "type": "promotion.applied"}
    ).decode()
    row: dict[str, Any] = follow(Head(0, None, None), payload)
    signature = base64.b64encode(SIGNER.sign(bytes.fromhex(row["hash"]))).decode()
    return entry.leaf({**row, "signature": signature, "signer_id": SIGNER.signer_id})


def _trust_files() -> dict[str, bytes]:
    key = SIGNER.public_key
    listed = TrustedKey(
        keyid=key.keyid,
        public_key=key.base64,
        signer_id="release",
        owner="platform",
        roles=("security",),
        purposes=tuple(Purpose),
        environments=("prod",),
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    )
    trust = Trust(keys=(listed,), thresholds={"prod": {"security": 1}}, logs=(LOG,))
    plan = RootPlan((SIGNER.public_key, SECOND.public_key), 2, SIGNER.public_key)
    first, second = unsigned_root(1, plan, EXPIRES), unsigned_root(2, plan, EXPIRES)
    for signer in (SIGNER, SECOND):
        first, second = signed_root(first, None, signer), signed_root(second, first, signer)
    return {"1.root.json": first, "2.root.json": second, **signed_targets(trust, 3, EXPIRES, SIGNER)}


_KEYS = {SIGNER.public_key.keyid: SIGNER.public_key}
_ENVELOPE = dsse.sign(sample_statements.promotion(), SIGNER)
_ENTRIES = [b'{"seq":%d}' % n for n in range(5)]
_ROOT = merkle.root(map(merkle.leaf_hash, _ENTRIES))
_NOTE = checkpoint.sign(Checkpoint(LOG, 5, _ROOT), SIGNER)
_HASHES = (merkle.leaf_hash(_ENTRIES[3]), merkle.node_hash(*map(merkle.leaf_hash, _ENTRIES[:2])), merkle.leaf_hash(_ENTRIES[4]))
_PROOF = log_proof.write(LogProof(2, _HASHES, _NOTE))
_TRUST = MappingProxyType(_trust_files())


def _read_note(data: bytes) -> object:
    parsed = note.parse(data)
    return parsed.text, note.verify(parsed, LOG, _KEYS.values())


def _read_proof(data: bytes) -> object:
    proof = log_proof.parse(data)
    head, _ = checkpoint.open_checkpoint(proof.checkpoint, LOG, _KEYS.values())
    log_proof.verify(proof, _ENTRIES[2], head)
    return proof.index, head


def _read_bundle(envelope: bytes) -> object:
    value = canonical_json.loads(sigstore_bundle.bundle(envelope))
    return dsse.parse(canonical_json.dumps(value["dsseEnvelope"])) == dsse.parse(envelope)


def _read_alone(pinned: bytes) -> object:
    return trust_root.open_trust_root(pinned, {name: _TRUST[name] for name in ("targets.json", "trust.json")}, now=NOW)


def _trust(name: str) -> Parser:
    def read(data: bytes) -> object:
        return trust_root.open_trust_root(_TRUST["1.root.json"], {**_TRUST, name: data}, now=NOW)

    return Parser(_TRUST[name], read)


def _unsigned(good: bytes, parse: Callable[[bytes], object]) -> Parser:
    """Return a parser that believes nothing, so that it can only crash."""
    return Parser(good, lambda data: type(parse(data)))


PARSERS = {
    "envelope": Parser(_ENVELOPE, lambda data: dsse.open_envelope(data, _KEYS)),
    "bundle": Parser(_ENVELOPE, _read_bundle),
    "statement": Parser(sample_statements.training(), lambda data: statement.parse(data).digest == sha256(data).hexdigest()),
    "note": Parser(_NOTE, _read_note),
    "checkpoint": Parser(_NOTE, lambda data: checkpoint.open_checkpoint(data, LOG, _KEYS.values())),
    "log proof": Parser(_PROOF, _read_proof),
    "log entry": Parser(_event(), lambda data: entry.leaf(entry.read_leaf(data)) == data),
    "public key": Parser(SIGNER.public_key.pem.encode(), lambda data: len(public_key.parse(data.decode(errors="replace")).raw)),
    "unsigned envelope": _unsigned(_ENVELOPE, dsse.parse),
    "unsigned note": _unsigned(_NOTE, note.parse),
    "unsigned checkpoint": _unsigned(_NOTE, checkpoint.parse),
    "unsigned log proof": _unsigned(_PROOF, log_proof.parse),
    "unsigned trust": _unsigned(_TRUST["trust.json"], trust_root.parse_trust),
    "pinned root": Parser(_TRUST["1.root.json"], _read_alone),
    "later root": _trust("2.root.json"),
    "targets.json": _trust("targets.json"),
    "trust.json": _trust("trust.json"),
}
