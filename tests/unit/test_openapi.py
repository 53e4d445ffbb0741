"""The OpenAPI document: current, complete, and true to its own examples."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from aiinfra_core.http_api.app import create_app
from aiinfra_core.http_api.openapi import TAGS
from aiinfra_core.settings import Settings
from scripts import openapi

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    return create_app(Settings()).openapi()


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _media(document: Document) -> Iterator[tuple[str, Document]]:
    """Give every body, sent or answered, that is JSON."""
    for name, operation in _operations(document):
        bodies = {"body": operation.get("requestBody", {}), **operation["responses"]}
        for part, body in bodies.items():
            for kind, media in body.get("content", {}).items():
                if kind.endswith("json"):
                    yield f"{name} {part}", media


def test_the_document_in_docs_is_current() -> None:
    assert openapi.WRITTEN.read_text() == openapi.text(), "write it again: python -m scripts.openapi"


def test_each_operation_says_what_it_does_under_a_short_name_of_its_own(document: Document) -> None:
    names = [operation["operationId"] for _, operation in _operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in _operations(document):
        assert re.fullmatch("[a-z][A-Za-z]{3,40}", operation["operationId"]), name
        assert operation["summary"] and operation["description"], name
        assert len(operation["tags"]) == 1 and operation["tags"][0] in TAGS, name


def test_each_operation_says_who_may_ask_and_how_it_may_fail(document: Document) -> None:
    schemes = set(document["components"]["securitySchemes"])
    for name, operation in _operations(document):
        asked = {scheme for way in operation["security"] for scheme in way}
        assert asked == (schemes if "401" in operation["responses"] else set()), name
        assert {"400", "429", "500", "503"} <= set(operation["responses"]), name
        assert ("413" in operation["responses"]) == ("requestBody" in operation), name
        for status, response in operation["responses"].items():
            kinds = set(response.get("content", {}))
            told = "application/json" if operation["operationId"] == "readyz" and status == "503" else "application/problem+json"
            assert int(status) < 400 or told in kinds, f"{name} {status}"
            assert "X-Request-Id" in response["headers"], f"{name} {status}"
        assert {"$ref": "#/components/parameters/RequestId"} in operation["parameters"], name


def test_only_health_is_open_to_everybody(document: Document) -> None:
    open_to_all = {name for name, operation in _operations(document) if not operation["security"]}
    assert all(name.startswith("GET ") and name.rpartition("/")[2] in ("health", "livez", "readyz") for name in open_to_all)


def test_each_write_may_be_named_so_that_it_is_done_once(document: Document) -> None:
    for name, operation in _operations(document):
        named_itself = operation["tags"] == ["jobs"] or operation["operationId"] == "observe"  # a lease has its own token, a batch its name
        if name.startswith(("POST", "PUT", "PATCH", "DELETE")) and not named_itself:
            assert "Idempotency-Key" in [part.get("name") for part in operation["parameters"]], name


def test_every_body_has_an_example_that_fits(document: Document) -> None:
    wrong = []
    for name, media in _media(document):
        schema = media["schema"]
        examples = _examples(document, schema) + ([media["example"]] if "example" in media else [])
        validator = Draft202012Validator({**schema, "components": document["components"]})
        wrong += [f"{name}: {error.message}" for example in examples for error in validator.iter_errors(example)]
        wrong += [] if examples else [f"{name} has no example"]
    assert wrong == []


def _examples(document: Document, schema: Document) -> list[Any]:
    if "$ref" in schema:
        return _examples(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if schema.get("type") == "array":
        return [[example] for example in _examples(document, schema["items"])]
    return list(schema.get("examples", ()))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("AskedTraining", "codeRef containerDigest hyperparams datasetRefs seed model"),
        ("SentJob", "id codeRef containerDigest hyperparams datasetRefs seed status createdAt updatedAt"),
        ("AskedRegistration", "trainingJobId artifactUri checksum metadata manifestSignatureId"),
        ("SentArtifact", "id trainingJobId artifactUri checksum metadata signerId signature manifestSignatureId createdAt"),
        ("AskedPromotion", "artifactId environment evaluation requestedBy"),
        (
            "SentPromotion",
            "id artifactId environment status evaluation sentinelDecision promotedBy promotedAt signature signerId createdAt",
        ),
        ("Problem", "error"),
    ],
)
def test_the_names_of_the_service_before_are_in_it(document: Document, name: str, fields: str) -> None:
    assert set(fields.split()) <= set(document["components"]["schemas"][name]["properties"])
