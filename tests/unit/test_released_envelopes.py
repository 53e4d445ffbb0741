"""Evidence that past releases signed is opened and believed by today's code; nothing of it is ever changed or removed."""

import json
import subprocess
from pathlib import Path

import pytest

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex, sums_text
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import checkpoint, dsse, entry, log_proof, statement
from aiinfra_core.evidence.predicates import SHAPES, Promotion
from aiinfra_core.signing.public_key import PublicKey, parse

RELEASED = Path(__file__).parents[1] / "released_envelopes"
# Release -> SHA-256 of its MANIFEST. A line is added at a release; none is ever changed or removed.
MANIFESTS = {
    "0.1.0": "8971f8e16668fb107566db4e7c99d5f128cc0e6ea1949fae2a211ccff1fde59f",
}
KINDS = {  # written out, because a type that was once signed stays readable
    "https://slsa.dev/provenance/v1",
    "https://slsa.dev/verification_summary/v1",
    "urn:ai-infra:attestation:approval:v1",
    "urn:ai-infra:attestation:evaluation:v1",
    "urn:ai-infra:attestation:export:v1",
    "urn:ai-infra:attestation:registration:v1",
    "urn:ai-infra:attestation:reproduction:v1",
}
EVERY_ENVELOPE = [path for version in MANIFESTS for path in sorted((RELEASED / version).glob("*.dsse.json"))]


def key_of(folder: Path) -> PublicKey:
    return parse((folder / "public-key.pem").read_text())


def test_every_release_is_kept() -> None:
    assert {path.name for path in RELEASED.iterdir() if path.is_dir()} == set(MANIFESTS)


@pytest.mark.parametrize("version", MANIFESTS)
def test_no_file_of_a_release_was_changed_added_or_removed(version: str) -> None:
    folder = RELEASED / version
    manifest = (folder / "MANIFEST").read_bytes()
    assert sha256_hex(manifest) == MANIFESTS[version]
    assert sums_text({path.name: sha256_hex(path.read_bytes()) for path in folder.iterdir() if path.name != "MANIFEST"}) == manifest
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "MANIFEST"], cwd=folder, check=True)


@pytest.mark.parametrize("path", EVERY_ENVELOPE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_envelope_of_a_release_is_still_believed(path: Path) -> None:
    key = key_of(path.parent)
    payload = dsse.open_envelope(path.read_bytes(), {key.keyid: key})
    read = statement.parse(payload)
    assert isinstance(read.predicate, SHAPES[read.predicate_type])
    assert canonical_json.dumps(json.loads(payload)) == payload
    changed = json.loads(path.read_bytes())
    changed["payload"] = "e30="
    with pytest.raises(EvidenceBroken, match=r"^signature: "):
        dsse.open_envelope(canonical_json.dumps(changed), {key.keyid: key})


@pytest.mark.parametrize("version", MANIFESTS)
def test_a_release_holds_every_kind_of_statement_and_a_rollback(version: str) -> None:
    key, envelopes = key_of(RELEASED / version), (RELEASED / version).glob("*.dsse.json")
    found = [statement.parse(dsse.open_envelope(path.read_bytes(), {key.keyid: key})) for path in envelopes]
    assert {one.predicate_type for one in found} >= KINDS
    assert {one.predicate.promotion.rollback for one in found if isinstance(one.predicate, Promotion)} == {True, False}


@pytest.mark.parametrize("version", MANIFESTS)
def test_an_entry_of_a_release_is_still_proven_to_be_in_its_log(version: str) -> None:
    folder, key = RELEASED / version, key_of(RELEASED / version)
    origin = checkpoint.parse((folder / "checkpoint").read_bytes()).origin
    proof, data = log_proof.parse((folder / "entry.tlog-proof").read_bytes()), (folder / "entry.json").read_bytes()
    head, _ = checkpoint.open_checkpoint((folder / "checkpoint").read_bytes(), origin, [key])
    assert proof.checkpoint == (folder / "checkpoint").read_bytes()
    log_proof.verify(proof, data, head)
    row = entry.read_leaf(data)
    entry.check(row)
    entry.check_signature(row, {key.keyid: key})
    taken_in = json.loads(row["payload"])["rows"]["attestations"]
    envelope = (folder / "registration.dsse.json").read_bytes()
    assert taken_in["envelope"] == {"sha256": sha256_hex(envelope), "size": len(envelope)}
