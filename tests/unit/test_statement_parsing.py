"""A signed statement is read back as it was made; one of another shape is not believed."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
import rfc8785

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import dsse, predicates, statement
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.signing import local
from tests.simulators.sample_statements import (
    DOCUMENT,
    HEX,
    SUBJECT,
    approval,
    evaluation,
    export,
    imported,
    order,
    promotion,
    registration,
    reproduction,
    routing,
    scan,
    tombstone,
    training,
    vouched_approval,
    vouched_withdrawal,
    withdrawal,
)

SIGNER = local.from_base64(local.generate())
ALL = {
    "training": training(),
    "registration": registration(),
    "evaluation": evaluation(),
    "pipeline evaluation": evaluation(spec_digest=HEX),
    "promotion": promotion(),
    "rollback": promotion(replaces=uuid4()),
    "rolled out promotion": promotion(rollout_digest=HEX, overrides=uuid4()),
    "routing": routing(),
    "routing without a challenger": routing(challenger=None, split=None),
    "rollout order": order(),
    "reproduction": reproduction(),
    "waiting promotion": promotion(approvals_required={"security": 2}),
    "approval": approval(),
    "vouched approval": vouched_approval(),
    "withdrawal": withdrawal(),
    "vouched withdrawal": vouched_withdrawal(),
    "scan": scan(),
    "export": export(),
    "import": imported(),
    "tombstone": tombstone(),
}


@pytest.mark.parametrize("payload", ALL.values(), ids=ALL.keys())
def test_a_statement_is_canonical_json_that_can_be_signed_and_read_back(payload: bytes) -> None:
    assert payload == rfc8785.dumps(json.loads(payload))
    opened = dsse.open_envelope(dsse.sign(payload, SIGNER), {SIGNER.public_key.keyid: SIGNER.public_key})
    read = statement.parse(opened)
    subject = Subject("artifact:old", DigestKind.FILE, sha256_hex(DOCUMENT.encode())) if payload == ALL["import"] else SUBJECT
    assert (read.subject, read.digest) == (subject, sha256_hex(payload))
    assert isinstance(read.predicate, predicates.SHAPES[read.predicate_type])
    assert float not in {type(item) for item in scalars(json.loads(payload))}


def scalars(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if children is None else [item for child in children for item in scalars(child)]


def changed(payload: bytes, path: list[Any], value: Any) -> bytes:
    """The payload with one value set, or taken out when it is `...`."""
    whole = json.loads(payload)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return canonical_json.dumps(whole)


EXTENSION = ["predicate", predicates.PROMOTION_EXTENSION]
REFUSED: list[tuple[bytes, list[Any], Any, str]] = [
    (registration(), ["_type"], "https://in-toto.io/Statement/v0.1", "statement"),
    (registration(), ["_type"], ..., "statement"),
    (registration(), ["predicateType"], "https://example.com/other", "predicate type"),
    (registration(), ["predicateType"], [], "predicate type"),
    (registration(), ["predicateType"], predicates.EVALUATION, "predicate"),
    (registration(), ["predicate"], ..., "predicate"),
    (registration(), ["predicate"], [], "predicate"),
    (registration(), ["predicate", "extra"], 1, "predicate"),
    (registration(), ["predicate", "artifact_id"], "x", "predicate"),
    (registration(), ["predicate", "model"], ..., "predicate"),
    (registration(), ["predicate", "model"], 7, "predicate"),
    (registration(), ["predicate", "provenance"], "some", "predicate"),
    (registration(), ["predicate", "registeredAt"], "2026-03-01T10:22:33Z", "predicate"),
    (evaluation(), ["predicate", "kind"], "guessed", "predicate"),
    (evaluation(), ["predicate", "metrics", "quality"], 0.9, "predicate"),
    (evaluation(), ["predicate", "datasets", 0, "extra"], 1, "predicate"),
    (training(), ["predicate", "buildDefinition", "buildType"], "https://example.com/build", "predicate"),
    (training(), ["predicate", "buildDefinition", "externalParameters", "seed"], 7, "predicate"),
    (training(), ["predicate", "buildDefinition", "resolvedDependencies", 0, "digest"], {"md5": "x"}, "predicate"),
    (promotion(), ["predicate", "verificationResult"], "FAILED", "predicate"),
    (promotion(), ["predicate", "verifiedLevels"], ["SLSA_BUILD_LEVEL_3"], "predicate"),
    (promotion(), ["predicate", "verifier", "id"], "https://example.com", "predicate"),
    (promotion(), EXTENSION, ..., "predicate"),
    (promotion(), [*EXTENSION, "extra"], 1, "predicate"),
    (promotion(), [*EXTENSION, "sequence"], "8", "predicate"),
    (promotion(), [*EXTENSION, "sequence"], 8.5, "predicate"),
    (promotion(), [*EXTENSION, "rollback"], 0, "predicate"),
    (promotion(), [*EXTENSION, "follows"], ..., "predicate"),
    (reproduction(), ["predicate", "extra"], 1, "predicate"),
    (reproduction(), ["predicate", "outcome"], "similar", "predicate"),
    (reproduction(), ["predicate", "reproducedChecksum"], ..., "predicate"),
    (reproduction(), ["predicate", "trainingAttestation"], None, "predicate"),
    (approval(), ["predicate", "extra"], 1, "predicate"),
    (approval(), ["predicate", "roles"], ["security"], "predicate"),
    (approval(), ["predicate", "manifest"], HEX.upper(), "predicate"),
    (approval(), ["predicate", "expiresAt"], ..., "predicate"),
    (approval(), ["predicate", "expiresAt"], None, "predicate"),
    (approval(), ["predicate", "issuer"], "https://login.example", "predicate"),
    (vouched_approval(), ["predicate", "extra"], 1, "predicate"),
    (vouched_approval(), ["predicate", "roles"], ..., "predicate"),
    (vouched_approval(), ["predicate", "roles"], "security", "predicate"),
    (vouched_approval(), ["predicate", "issuer"], ..., "predicate"),
    (vouched_approval(), ["predicateType"], predicates.APPROVAL, "predicate"),
    (withdrawal(), ["predicate", "extra"], 1, "predicate"),
    (withdrawal(), ["predicate", "issuer"], "https://login.example", "predicate"),
    (withdrawal(), ["predicate", "approval"], ..., "predicate"),
    (vouched_withdrawal(), ["predicate", "issuer"], None, "predicate"),
    (vouched_withdrawal(), ["predicate", "withdrawnAt"], "2026-03-01", "predicate"),
    (scan(), ["predicate", "extra"], 1, "predicate"),
    (scan(), ["predicate", "verdict"], "fine", "predicate"),
    (scan(), ["predicate", "findingsDigest"], ..., "predicate"),
    (evaluation(spec_digest=HEX), ["predicate", "specDigest"], "nope", "predicate"),
    (promotion(approvals_required={"security": 1}), [*EXTENSION, "approvalsRequired"], ["security"], "predicate"),
    (promotion(approvals_required={"security": 1}), [*EXTENSION, "approvalsRequired", "security"], "1", "predicate"),
    (promotion(), [*EXTENSION, "rolloutDigest"], "nope", "predicate"),
    (promotion(), [*EXTENSION, "overrides"], 7, "predicate"),
    (promotion(), [*EXTENSION, "replaces"], [HEX], "predicate"),
    (order(), ["predicate", "extra"], 1, "predicate"),
    (order(), ["predicate", "action"], "stop", "predicate"),
    (order(), ["predicate", "reasonDigest"], ..., "predicate"),
    (order(), ["predicate", "manifest"], HEX.upper(), "predicate"),
    (order(), ["predicate", "orderedAt"], "2026-03-01", "predicate"),
    (routing(), ["predicate", "extra"], 1, "predicate"),
    (routing(), ["predicate", "champion", "extra"], 1, "predicate"),
    (routing(), ["predicate", "champion"], None, "predicate"),
    (routing(), ["predicate", "challenger", "manifest"], ..., "predicate"),
    (routing(), ["predicate", "challenger"], ..., "predicate"),
    (routing(), ["predicate", "weight"], 10_001, "predicate"),
    (routing(), ["predicate", "weight"], 5.5, "predicate"),
    (routing(), ["predicate", "sequence"], 0, "predicate"),
    (routing(), ["predicate", "changes"], True, "predicate"),
    (routing(), ["predicate", "unit"], "session", "predicate"),
    (routing(), ["predicate", "expiresAt"], None, "predicate"),
    (export(), ["predicate", "extra"], 1, "predicate"),
    (export(), ["predicate", "current", "extra"], 1, "predicate"),
    (export(), ["predicate", "current"], ..., "predicate"),
    (export(), ["predicate", "current", "sequence"], "8", "predicate"),
    (export(), ["predicate", "head", "extra"], 1, "predicate"),
    (export(), ["predicate", "head", "size"], True, "predicate"),
    (export(), ["predicate", "version"], 0, "predicate"),
    (imported(), ["predicate", "extra"], 1, "predicate"),
    (imported(), ["predicate", "kind"], "model", "predicate"),
    (imported(), ["predicate", "artifactId"], ..., "predicate"),
    (imported(), ["predicate", "importedAt"], "2026-03-01", "predicate"),
    (tombstone(), ["predicate", "extra"], 1, "predicate"),
    (tombstone(), ["predicate", "rule", "extra"], 1, "predicate"),
    (tombstone(), ["predicate", "rule", "keepLast"], "3", "predicate"),
    (tombstone(), ["predicate", "rule", "rollbackTargets"], 0, "predicate"),
    (tombstone(), ["predicate", "rule"], ..., "predicate"),
    (tombstone(), ["predicate", "version"], 0, "predicate"),
    (promotion(), ["subject"], [], "subject"),
    (promotion(), ["subject"], ..., "subject"),
    (promotion(), ["subject"], [{"name": "a", "digest": {"sha256": HEX}}] * 2, "subject"),
    (promotion(), ["subject", 0, "name"], 1, "subject"),
    (promotion(), ["subject", 0, "name"], "", "subject"),
    (promotion(), ["subject", 0, "digest"], {"sha1": "x"}, "subject"),
    (promotion(), ["subject", 0, "digest"], {"sha256": HEX, "dirHash": HEX}, "subject"),
    (promotion(), ["subject", 0, "digest", "sha256"], HEX.upper(), "subject"),
    (promotion(), ["subject", 0, "digest", "sha256"], 7, "subject"),
]


@pytest.mark.parametrize(("payload", "path", "value", "place"), REFUSED, ids=[f"{path[-1]}={value}"[:60] for _, path, value, _ in REFUSED])
def test_a_statement_of_another_shape_is_not_believed(payload: bytes, path: list[Any], value: Any, place: str) -> None:
    with pytest.raises(EvidenceBroken) as caught:
        statement.parse(changed(payload, path, value))
    assert caught.value.place == place


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"_type":1,"_type":2}', b'{"a":NaN}', b"\xff"])
def test_what_is_no_strict_json_object_is_no_statement(payload: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^statement: "):
        statement.parse(payload)


def test_fields_unknown_to_us_are_ignored_in_standard_predicates_and_the_frame() -> None:
    for payload, path in (
        (training(), ["predicate", "runDetails", "byproducts"]),
        (training(), ["predicate", "buildDefinition", "internalParameters"]),
        (promotion(), ["predicate", "dependencyLevels"]),
        (promotion(), ["annotations"]),
        (promotion(), ["subject", 0, "uri"]),
        (approval(), ["annotations"]),
        (export(), ["subject", 0, "uri"]),
    ):
        assert statement.parse(changed(payload, path, "something new")).subject == SUBJECT


def test_the_digest_of_a_statement_is_that_of_its_exact_bytes() -> None:
    spaced = promotion().replace(b":", b": ", 1)
    assert statement.parse(spaced).digest == sha256_hex(spaced) != statement.parse(promotion()).digest
    assert base64.b64decode(json.loads(dsse.sign(spaced, SIGNER))["payload"]) == spaced
