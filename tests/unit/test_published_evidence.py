"""What docs/ publishes about evidence is what the code does: schemas, and examples that can be checked against them."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import checkpoint, dsse, entry, log_proof, predicates, statement
from aiinfra_core.signing.public_key import PublicKey, parse
from scripts.evidence_docs.claimed import BYTES, ORIGIN, SEED_B64, SIGNER
from scripts.evidence_docs.examples import examples
from scripts.evidence_docs.schemas import named, schemas
from tests.unit.test_statement_parsing import ALL, REFUSED, changed

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples/envelopes"
ENVELOPES = sorted(EXAMPLES.glob("*.dsse.json"))
KEY = parse((EXAMPLES / "public-key.pem").read_text())
AGAIN = "run python -m scripts.evidence_docs, and look at what changed"


@cache
def validator(predicate_type: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs/schemas" / f"{named(predicates.SHAPES[predicate_type])}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def payload_of(envelope: Path) -> bytes:
    return dsse.open_envelope(envelope.read_bytes(), {KEY.keyid: KEY})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}


def test_the_published_schemas_are_those_the_code_reads_with() -> None:
    assert contents(ROOT / "docs/schemas") == schemas(), AGAIN


def test_the_published_examples_are_what_the_code_signs() -> None:
    assert contents(EXAMPLES) == examples() == examples(), AGAIN


def test_every_kind_of_statement_has_a_schema_and_an_example() -> None:
    assert set(schemas()) == {f"{named(shape)}.schema.json" for shape in predicates.SHAPES.values()}
    assert {statement.parse(payload_of(path)).predicate_type for path in ENVELOPES} == set(predicates.SHAPES)


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.name)
def test_an_example_has_the_shape_of_its_schema(path: Path) -> None:
    payload = payload_of(path)
    validator(statement.parse(payload).predicate_type).validate(json.loads(payload))


@pytest.mark.parametrize("payload", ALL.values(), ids=ALL.keys())
def test_what_the_code_states_has_the_shape_of_its_schema(payload: bytes) -> None:
    validator(statement.parse(payload).predicate_type).validate(json.loads(payload))


@pytest.mark.parametrize(("payload", "path", "value", "place"), REFUSED, ids=[f"{path[-1]}={value}"[:60] for _, path, value, _ in REFUSED])
def test_what_the_code_does_not_believe_is_not_of_the_published_shape(payload: bytes, path: list[Any], value: Any, place: str) -> None:
    assert not validator(statement.parse(payload).predicate_type).is_valid(json.loads(changed(payload, path, value)))


def test_a_schema_names_itself_and_its_statement() -> None:
    for name, data in schemas().items():
        schema = json.loads(data)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["$id"] == f"urn:ai-infra:schema:{name.removesuffix('.schema.json')}:v1"
        assert all(part.get("description") or title == "Subject" for title, part in schema["$defs"].items())


def test_the_published_entry_is_in_the_published_log() -> None:
    files = contents(EXAMPLES)
    proof = log_proof.parse(files["entry.tlog-proof"])
    head, key = checkpoint.open_checkpoint(proof.checkpoint, ORIGIN, [KEY])
    assert (proof.checkpoint, key, head.size) == (files["checkpoint"], KEY, 9)
    log_proof.verify(proof, files["entry.json"], head)
    row = entry.read_leaf(files["entry.json"])
    entry.check(row)
    assert entry.check_signature(row, {KEY.keyid: KEY}) == KEY.keyid
    with pytest.raises(EvidenceBroken):
        log_proof.verify(proof, files["entry.json"].replace(b"ada", b"eve"), head)


def test_the_examples_tell_one_linked_story() -> None:
    told = {path.name.removesuffix(".dsse.json"): statement.parse(payload_of(path)) for path in ENVELOPES}
    claims = {name: one.predicate.model_dump(by_alias=True) for name, one in told.items()}
    moves = [claims[name][predicates.PROMOTION_EXTENSION] for name in ("promotion", "next-promotion", "rollback")]
    assert claims["registration"]["trainingAttestation"] == claims["reproduction"]["trainingAttestation"] == told["training"].digest
    assert [it["digest"]["sha256"] for it in claims["promotion"]["inputAttestations"]] == [
        told[name].digest for name in ("registration", "training", "evaluation")
    ]
    assert [(move["sequence"], move["follows"], move["rollback"]) for move in moves] == [
        (1, None, False),
        (2, told["promotion"].digest, False),
        (3, told["next-promotion"].digest, True),
    ]
    assert claims["approval"]["manifest"] == claims["vouched-approval"]["manifest"] == told["promotion"].digest
    assert claims["withdrawal"]["manifest"] == claims["vouched-withdrawal"]["manifest"] == told["next-promotion"].digest
    assert claims["export"]["current"] == {"sequence": 3, "manifest": told["rollback"].digest}


def test_the_docs_say_that_the_key_of_the_examples_is_published() -> None:
    assert PublicKey(SIGNER.public_key.raw) == KEY
    said = (EXAMPLES / "README.md").read_text()
    assert SEED_B64 in said
    assert base64.b64decode(SEED_B64) == bytes(range(32))
    assert repr(BYTES.decode())[1:-1] in said
