"""What artifacts and promotions can be searched by, and the index each search walks.

An artifact's inputs, the statuses of its promotions and where it is current stand in `search_terms`, its scores in `search_metrics`: both
are kept by triggers, follow from tables that are evidence, and prove nothing. How a list is walked lives in `listing`.
"""

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, exists, select

from aiinfra_core import checksums
from aiinfra_core.registry import as_sent
from aiinfra_core.registry.listing import CREATED_AFTER, CREATED_BEFORE, Listing, Walk, created
from aiinfra_core.tables import model_artifacts, model_promotions
from aiinfra_core.work_tables import search_metrics, search_terms

TERMS = {"environment": "environment", "code_ref": "codeRef", "dataset": "dataset", "status": "status"}
"""Filters of artifacts that are answered from `search_terms`, and the kind of their terms."""
_TERM_BYTES = 16


def artifact_filters(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters of `ARTIFACTS` as its statements bind them; a `metric` may come with `at_least` and `at_most`."""
    bound = {name: term(TERMS[name], value) if name in TERMS else value for name, value in wanted.items()}
    return {"at_least": -math.inf, "at_most": math.inf} | bound if "metric" in wanted else bound


def term(kind: str, value: str) -> bytes:
    """Return what stands in `search_terms` for a value of a kind, as the function of this name in the schema makes it."""
    return bytes.fromhex(checksums.sha256_hex(f"{kind}:{value}".encode()))[:_TERM_BYTES]


def _equal(table: Table, *names: str) -> dict[str, ColumnElement[bool]]:
    return {name: table.c[name] == bindparam(name, type_=table.c[name].type) for name in names}


def _way(table: Table, tests: Mapping[str, ColumnElement[bool]], *names: str) -> Walk:
    """Walk a table newest first by an index that begins with these columns."""
    where = tests[names[0]] if names else table.c.id.is_not(None)
    for name in names[1:]:
        where &= tests[name]
    return Walk(frozenset(names), table.c.created_at, table.c.id, where)


def _of_term(name: str) -> Walk:
    where = search_terms.c.term == bindparam(name, type_=search_terms.c.term.type)
    return Walk(frozenset({name}), search_terms.c.created_at, search_terms.c.artifact_id, where, repeats=True)


def _has_term(name: str) -> ColumnElement[bool]:
    same = (search_terms.c.created_at == model_artifacts.c.created_at) & (search_terms.c.artifact_id == model_artifacts.c.id)
    return exists(select(search_terms.c.term).where(search_terms.c.term == bindparam(name, type_=search_terms.c.term.type), same))


_SCORES = _equal(search_metrics, "metric", "model")
_IN_RANGE = _SCORES["metric"] & search_metrics.c.value.between(
    bindparam("at_least", type_=search_metrics.c.value.type), bindparam("at_most", type_=search_metrics.c.value.type)
)
_BY_SCORE = Walk(frozenset({"metric"}), search_metrics.c.value, search_metrics.c.artifact_id, _IN_RANGE)
_BY_SCORE_OF_MODEL = Walk(frozenset({"metric", "model"}), _BY_SCORE.by, _BY_SCORE.id, _IN_RANGE & _SCORES["model"])

_OF_ARTIFACT = (
    _equal(model_artifacts, "model", "version", "training_job_id", "checksum")
    | {name: _has_term(name) for name in TERMS}
    | {
        "metric": exists(select(search_metrics.c.value).where(search_metrics.c.artifact_id == model_artifacts.c.id, _IN_RANGE)),
        "trained": model_artifacts.c.training_job_id.is_not(None),
        "untrained": model_artifacts.c.training_job_id.is_(None),
    }
    | {name: created(model_artifacts.c.created_at, name) for name in (CREATED_AFTER, CREATED_BEFORE)}
)
_PATHS = (("training_job_id", "checksum"), ("training_job_id",), ("checksum",), ("model", "version"))
ARTIFACTS = Listing(
    table=model_artifacts,
    document=as_sent.artifact(),
    walks=(
        *(_way(model_artifacts, _OF_ARTIFACT, *names) for names in _PATHS),
        _of_term("code_ref"),
        _BY_SCORE_OF_MODEL,
        _way(model_artifacts, _OF_ARTIFACT, "model"),
        *map(_of_term, ("environment", "dataset", "status")),
        _BY_SCORE,
        *(_way(model_artifacts, _OF_ARTIFACT, *names) for names in (("untrained",), ("trained",), ())),
    ),
    tests=_OF_ARTIFACT,
)
"""Registered artifacts, newest first; a search by metric that walks `search_metrics` has the highest value first."""

_OF_PROMOTION = _equal(model_promotions, "artifact_id", "model", "environment", "status", "requested_by") | {
    name: created(model_promotions.c.created_at, name) for name in (CREATED_AFTER, CREATED_BEFORE)
}
_PROMOTION_PATHS = (("artifact_id",), ("environment", "model"), ("model",), ("requested_by",), ("status",), ("environment",), ())
PROMOTIONS = Listing(
    table=model_promotions,
    document=as_sent.promotion(),
    walks=tuple(_way(model_promotions, _OF_PROMOTION, *names) for names in _PROMOTION_PATHS),
    tests=_OF_PROMOTION,
)
"""Promotions, newest first."""
