"""`models list` and `models show`."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, say_table, score
from aiinfra_core.cli.promoting import goes_back
from aiinfra_core.cli.registry import Known, Listed, Registry, Server, at, registry_at
from aiinfra_core.cli.typed import Reference
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.evaluation import EvaluationSource, source_in_words, source_of
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.errors import BadInput
from aiinfra_core.wire.records import SentCard, SentPromotion

models = App(name="models")

_MOST = 500
_SHORT = 12


@models.command(name="list", help_epilogue=examples("aiinfra models list", "aiinfra models list rain --limit 10 --json"))
def list_versions(
    model: Annotated[str | None, Parameter(help="Only this model.")] = None,
    /,
    *,
    limit: Annotated[int, Parameter(help=f"How many, at most {_MOST}.")] = 50,
    after: Annotated[UUID | None, Parameter(help="The id of the last artifact seen; those registered before it follow.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List registered versions, newest first, and where each is current."""
    if not 1 <= limit <= _MOST:
        raise BadInput(f"--limit must be between 1 and {_MOST}.")
    with registry_at(server) as registry:
        found = registry.versions(model, limit, after)
    if as_json:
        return say_json([{**one.artifact.model_dump(mode="json", by_alias=True), "currentIn": one.current_in} for one in found])
    return _say_versions(found, limit, model if after is None else None)


@models.command(help_epilogue=examples("aiinfra models show rain", "aiinfra models show rain@prod --json"))
def show(artifact: Reference, /, *, server: Server = None, as_json: AsJson = False) -> None:
    """Show a version: its bytes, where they came from, how they scored on which data, who promoted it and where it is current."""
    with registry_at(server) as registry:
        known = registry.known(artifact)
        if as_json:
            return say_json(known)
        reasons = [_reason(registry, one) for one in known.promotions]
    _say_artifact(known)
    _say_evaluations(known)
    _say_promotions(known.promotions, reasons)
    current = ", ".join(f"{place.environment} (sequence {place.sequence})" for place in known.current_in)
    say(f"Current in: {current or 'no environment'}")
    if earning := next((one for one in known.promotions if one.status == PromotionStatus.ROLLING_OUT), None):
        return say_next(f"aiinfra rollout show {earning.model}@{earning.environment}{at(server)}")
    return say_next(f"aiinfra verify {known.artifact.model}:{known.artifact.version}{at(server)}")


def _say_versions(found: Sequence[Listed], limit: int, model: str | None) -> None:
    if not found and model:
        say(f"There is no model {model}.")
        return say_next("aiinfra models list")
    if not found:
        say("Nothing is registered here.")
        return say_next("aiinfra train --help")
    rows = [
        (
            f"{one.artifact.model}:{one.artifact.version}",
            *(() if one.current_in is None else (", ".join(one.current_in),)),
            one.artifact.checksum[:16],
            f"{one.artifact.created_at:%Y-%m-%d %H:%M}",
            one.artifact.provenance,
            one.artifact.id,
        )
        for one in found
    ]
    current = () if found[0].current_in is None else ("CURRENT IN",)
    say_table(("VERSION", *current, "CHECKSUM", "REGISTERED", "PROVENANCE", "ID"), rows)
    return say_next(f"aiinfra models list --after {rows[-1][-1]}" if len(found) == limit else f"aiinfra models show {rows[0][0]}")


def _say_artifact(known: Known) -> None:
    artifact, job, card = known.artifact, known.job, known.card
    imported = f", imported from {known.imported_from}" if known.imported_from else ""
    say(f"{artifact.model}:{artifact.version}")
    say_fields(
        {
            "id": artifact.id,
            "checksum": f"{artifact.digest_kind} {artifact.checksum}",
            "bytes": f"{artifact.size_bytes} at {artifact.artifact_uri}",
            "registered": f"{artifact.created_at:%Y-%m-%d %H:%M:%S} UTC by {artifact.registered_by}, signed by {artifact.signer_id}",
            "training": f"job {job.id}, {job.code_ref}, seed {job.seed}" if job else f"elsewhere: no provenance{imported}",
            "bytes removed": known.pruned,
            "scan": _of_scan(known),
            "reproduction": _of_reproduction(known),
            **(_of_card(card) if card else {}),
        }
    )


def _of_card(card: SentCard) -> dict[str, str | None]:
    about = card.model if card.version is None else f"{card.model}:{card.version}"
    return {
        "description": card.description or None,
        "tags": ", ".join(f"{tag}={value}" if value else tag for tag, value in card.tags.items()) or None,
        "model card": f"see: aiinfra card show {about}" if card.card else None,
    }


def _of_scan(known: Known) -> str:
    scan = known.scan
    return f"{scan.verdict}, {scan.created_at:%Y-%m-%d %H:%M} UTC by {scan.scanner}" if scan else "not scanned"


def _of_reproduction(known: Known) -> str:
    again = known.reproduction
    return f"{again.outcome}, {again.finished_at:%Y-%m-%d %H:%M} UTC by {again.reproduced_by}" if again else "not trained again"


def _say_evaluations(known: Known) -> None:
    if not known.evaluations:
        return
    say("Evaluations:")
    told = [(one, source_of(one.kind, one.spec_digest)) for one in known.evaluations]
    rows = [
        (
            f"  {source_in_words(one.kind, one.spec)}",
            score(one.metrics),
            _measured_on(known, one, source),
            score((one.spec or {}).get("parameters")),
            source,
            one.recorded_by,
            one.digest[:_SHORT],
        )
        for one, source in told
    ]
    say_table(("  HOW", "METRICS", "ON", "PARAMETERS", "SOURCE", "BY", "DIGEST"), rows)


def _measured_on(known: Known, one: Evaluation, source: EvaluationSource) -> str:
    if source is EvaluationSource.CALLER:
        return "nobody knows"
    if one.spec is not None:
        used = [(ref["name"], ref["sha256"]) for ref in one.spec["datasetRefs"]]
    else:
        used = [(ref.name, ref.sha256) for ref in known.job.dataset_refs] if known.job else []
    return ", ".join(f"{name} ({sha256[:_SHORT]})" for name, sha256 in used) or "no dataset is named"


def _reason(registry: Registry, promotion: SentPromotion) -> str | None:
    if promotion.rollback is None:
        return promotion.reason
    ended = f"; {promotion.reason}" if promotion.reason else ""
    return f"goes back from {goes_back(registry, promotion)}, why: {promotion.rollback.reason}{ended}"


def _say_promotions(found: Sequence[SentPromotion], reasons: Sequence[str | None]) -> None:
    if found:
        say("Promotions, newest first:")
        rows = [
            (f"  {one.environment}", one.status, f"{one.created_at:%Y-%m-%d %H:%M}", one.promoted_by, reason)
            for one, reason in zip(found, reasons, strict=True)
        ]
        say_table(("  TO", "STATUS", "ASKED", "BY", "REASON"), rows)
