"""JSON Schemas (draft 2020-12) of every statement, made from the shapes that the code itself reads with."""

import json
import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.evidence.predicates import IMPORT, SHAPES, Predicate
from aiinfra_core.evidence.statement import STATEMENT_TYPE

_ABOUT = {IMPORT: ("record", "The record as it came: its kind and id, and the SHA-256 of the document that is kept.")}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


class _WithoutFieldTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def schemas() -> dict[str, bytes]:
    """Return file name -> schema of one statement, its in-toto frame included."""
    return {f"{named(shape)}.schema.json": _file(_statement(kind, shape)) for kind, shape in SHAPES.items()}


def named(shape: type[Predicate]) -> str:
    """Return what a shape is called in names of files and schemas."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "-", shape.__name__).lower()


def _statement(predicate_type: str, shape: type[Predicate]) -> dict[str, Any]:
    predicate = shape.model_json_schema(mode="validation", schema_generator=_WithoutFieldTitles)
    parts = predicate.pop("$defs", {})
    about, subject = _ABOUT.get(predicate_type, ("artifact", "The artifact: the model's name and the digest of its bytes."))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ai-infra:schema:{named(shape)}:v1",
        "title": f"{shape.__name__} statement",
        "description": f"An in-toto Statement v1 about one {about}, the payload of an application/vnd.in-toto+json DSSE envelope.",
        "type": "object",
        "required": ["_type", "subject", "predicateType", "predicate"],
        "properties": {
            "_type": {"const": STATEMENT_TYPE},
            "subject": {
                "description": subject,
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {"$ref": "#/$defs/Subject"},
            },
            "predicateType": {"const": predicate_type},
            "predicate": {"$ref": f"#/$defs/{shape.__name__}"},
        },
        "$defs": {"Subject": _subject(), shape.__name__: predicate, **parts},
    }


def _subject() -> dict[str, Any]:
    return {
        "title": "Subject",
        "type": "object",
        "required": ["name", "digest"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "digest": {
                "description": "sha256 of a file, or dirHash of a directory: the SHA-256, in hex, of its SHA256SUMS.",
                "type": "object",
                "properties": {kind.value: _DIGEST for kind in DigestKind},
                "oneOf": [{"required": [kind.value]} for kind in DigestKind],
            },
        },
    }


def _file(schema: dict[str, Any]) -> bytes:
    return json.dumps(schema, indent=2).encode() + b"\n"
