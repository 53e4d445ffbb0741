"""What is read of one thing, each in one statement and as the JSON that is sent. Lists live in `search`, stories in `lineage`."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Integer, Select, Text, Uuid, bindparam, cast, func, literal, literal_column, select, tuple_, union
from sqlalchemy.dialects.postgresql import aggregate_order_by

from aiinfra_core.errors import NotFound
from aiinfra_core.evidence import dsse
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.registry import as_sent, listing, rows
from aiinfra_core.registry.artifacts import FOUND_BY, find_row
from aiinfra_core.tables import attestations, environment_pointers, imports, model_artifacts, model_promotions
from aiinfra_core.wire.reading import SentStatement

MOST_PROMOTIONS = 200
"""How many promotions come with an artifact, as far as they fit into `listing.MOST_BYTES`."""
_NEWEST = (
    select(model_promotions.c.created_at, model_promotions.c.id, as_sent.promotion().label("document"))
    .where(model_promotions.c.artifact_id == model_artifacts.c.id)
    .order_by(model_promotions.c.created_at.desc(), model_promotions.c.id.desc())
    .limit(literal(MOST_PROMOTIONS + 1, literal_execute=True))
    .correlate(model_artifacts)
    .subquery("newest")
)
_ORDER = (_NEWEST.c.created_at.desc(), _NEWEST.c.id.desc())
_LENGTHS = func.sum(func.octet_length(cast(_NEWEST.c.document, Text)))
_COUNTED = select(
    _NEWEST.c.document,
    func.row_number().over(order_by=_ORDER).label("number"),
    _LENGTHS.over(order_by=_ORDER, rows=(None, 0)).label("bytes"),
).subquery("counted")
_FITS = (_COUNTED.c.number == literal_column("1")) | (
    (_COUNTED.c.number <= literal_column(str(MOST_PROMOTIONS))) & (_COUNTED.c.bytes <= literal_column(str(listing.MOST_BYTES)))
)
_MODEL = (
    select(
        func.json_build_object(
            literal_column("'artifact'"),
            as_sent.artifact(),
            literal_column("'promotions'"),
            func.coalesce(
                func.json_agg(aggregate_order_by(_COUNTED.c.document, _COUNTED.c.number)).filter(_FITS), literal_column("'[]'::json")
            ),
            literal_column("'promotionsTruncated'"),
            func.count() > func.count().filter(_FITS),
        )
    )
    .select_from(_COUNTED)
    .correlate(model_artifacts)
    .scalar_subquery()
)
MODELS: dict[str, Select[Any]] = {by: query.with_only_columns(cast(_MODEL, Text).label("document")) for by, query in FOUND_BY.items()}
PROMOTION = select(cast(as_sent.promotion_details(), Text).label("document")).where(model_promotions.c.id == bindparam("promotion_id"))
CURRENT = (
    select(
        environment_pointers,
        func.coalesce(model_promotions.c.applied_at, environment_pointers.c.updated_at).label("since"),
        cast(as_sent.artifact(), Text).label("artifact"),
        cast(as_sent.promotion(), Text).label("promotion"),
        *(column.label(f"manifest_{column.name}") for column in attestations.c),
    )
    .join(model_promotions, model_promotions.c.id == environment_pointers.c.promotion_id)
    .join(model_artifacts, model_artifacts.c.id == environment_pointers.c.artifact_id)
    .join(attestations, attestations.c.digest == model_promotions.c.manifest)
    .where(environment_pointers.c.environment == bindparam("in_environment"), environment_pointers.c.model == bindparam("of_model"))
)
_ABOUT = union(
    select(attestations).where(attestations.c.subject_checksum == bindparam("checksum", type_=Text)),
    select(attestations)
    .join(imports, imports.c.attestation == attestations.c.digest)
    .where(imports.c.artifact_id == bindparam("artifact_id")),
).subquery("about")
STATEMENT = select(attestations).where(attestations.c.digest == bindparam("digest"))
_PLACE = cast(func.left(_ABOUT.c.digest, literal_column("32")), Uuid)
STATEMENTS = (
    select(_ABOUT).order_by(_ABOUT.c.created_at.desc(), _PLACE.desc()).limit(bindparam("most", type_=Integer, literal_execute=True))
)
MORE_STATEMENTS = STATEMENTS.where(
    tuple_(_ABOUT.c.created_at, _PLACE) < tuple_(bindparam("after", type_=_ABOUT.c.created_at.type), bindparam("after_id", type_=Uuid))
)


@dataclass(frozen=True)
class Current:
    """What is current: the pointer's row and since when, the artifact and the promotion as JSON texts, and the manifest."""

    pointer: Mapping[str, Any]
    since: datetime
    artifact: str
    promotion: str
    manifest: SentStatement


def model(tx: Connection, reference: str) -> str:
    """Return an artifact and its newest promotions as the JSON of `SentModel`; the reference is as for `artifacts.find`.

    Raises:
        NotFound: nothing is registered under that name.
    """
    return str(find_row(tx, reference, MODELS)["document"])


def promotion(tx: Connection, promotion_id: UUID) -> str:
    """Return a promotion as the JSON of `SentPromotionDetails`.

    Raises:
        NotFound: there is no such promotion.
    """
    found: str | None = tx.execute(PROMOTION, {"promotion_id": promotion_id}).scalar_one_or_none()
    if found is None:
        raise NotFound(f"There is no promotion {promotion_id}.")
    return found


def current(tx: Connection, environment: str, model: str) -> Current:
    """Return what is current for a model in an environment.

    Raises:
        NotFound: nothing is.
        EvidenceBroken: at `envelope` or `payload type`; the manifest that is kept is no envelope.
    """
    row = rows.first(tx, CURRENT, {"in_environment": environment, "of_model": model})
    if row is None:
        raise NotFound(f"Nothing is current for {model} in {environment}; promote a version of it there first.")
    manifest = {name.removeprefix("manifest_"): value for name, value in row.items() if name.startswith("manifest_")}
    pointer = {column.name: row[column.name] for column in environment_pointers.c}
    return Current(pointer, row["since"], row["artifact"], row["promotion"], _statement(manifest))


def sent_current(found: Current) -> str:
    """Return what is current as the JSON of `SentCurrent`."""
    pointer = {"environment": found.pointer["environment"], "model": found.pointer["model"], "sequence": found.pointer["sequence"]}
    own = json.dumps(pointer | {"updatedAt": timestamp(found.since)})[1:-1]
    manifest = found.manifest.model_dump_json(by_alias=True)
    return f'{{{own},"artifact":{found.artifact},"promotion":{found.promotion},"manifest":{manifest}}}'


def statements(
    tx: Connection, artifact_id: UUID, checksum: str, *, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[SentStatement]:
    """Return up to `limit` signed statements about an artifact or its bytes, newest first.

    Raises:
        EvidenceBroken: at `envelope` or `payload type`; what is kept is no envelope.
    """
    values: dict[str, Any] = {"artifact_id": artifact_id, "checksum": checksum, "most": limit}
    if after is None:
        return [_statement(row) for row in tx.execute(STATEMENTS, values).mappings()]
    return [_statement(row) for row in tx.execute(MORE_STATEMENTS, values | {"after": after[0], "after_id": after[1]}).mappings()]


def statement(tx: Connection, digest: str) -> SentStatement:
    """Return one signed statement.

    Raises:
        NotFound: it is not kept.
        EvidenceBroken: at `envelope` or `payload type`; what is kept is no envelope.
    """
    row = rows.first(tx, STATEMENT, {"digest": digest})
    if row is None:
        raise NotFound(f"There is no statement {digest}; try: aiinfra verify")
    return _statement(row)


def place_of(statement: SentStatement) -> tuple[datetime, UUID]:
    """Return where a statement stands in a list of them; the first half of its digest stands for the whole."""
    return statement.created_at, UUID(statement.digest[:32])


def _statement(row: Mapping[Any, Any]) -> SentStatement:
    data = bytes(row["envelope"])
    dsse.parse(data)
    own = {name: row[name] for name in ("digest", "predicate_type", "subject_checksum", "signer_id", "created_at")}
    return SentStatement(**own, envelope=json.loads(data), envelope_base64=base64.b64encode(data).decode())
