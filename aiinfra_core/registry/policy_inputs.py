"""What the rules of a policy see of a promotion, now or as it was at a time: plain data, gathered for many at once.

Only what is wanted is read. How lives in `judged_rows`, what it looks like in `policy_views`, what a rule makes of it in `rules`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import Artifact, Evaluation, JudgedEvaluation
from aiinfra_core.domain.promotion import Stage
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.registry import judged_rows, tried_rows
from aiinfra_core.registry import policy_views as views
from aiinfra_core.registry.judged_rows import Place, Row
from aiinfra_core.registry.tried_rows import Tried
from aiinfra_core.rules import rollout_views

ALWAYS = frozenset({"artifact", "evaluation", "requester", "environment", "stage", "now", "rollout", "rollback"})
"""What is known without reading anything more."""


@dataclass(frozen=True)
class Case:
    """A promotion as it is judged at a time; without an id nobody has asked for it yet.

    `evaluation` is the recorded one it is judged on, where that is known; `training_datasets` what its training learned from, as the job's
    exact JSON. With `past` only what was there at that time is seen. `asked_by` is who asked where that was not the requester. `rollout`
    is by what it is to earn its traffic, `from_operator` whether the operator's file says the same, `overrides` the rollout that sent its
    bytes back, where they are tried again, `goes_back` why it goes back and from which version.
    """

    artifact: Artifact
    environment: str
    requester: str
    judged: JudgedEvaluation | Evaluation | None
    asked_at: datetime
    at: datetime
    stage: Stage = Stage.REQUEST
    promotion_id: UUID | None = None
    evaluation: Evaluation | None = None
    training_datasets: str | None = None
    past: bool = False
    asked_by: str | None = None
    rollout: RolloutSpec | None = None
    from_operator: bool = False
    overrides: UUID | None = None
    goes_back: tuple[Rollback, int] | None = None

    @property
    def place(self) -> Place:
        """Where and until when to look for what was there."""
        return Place(self.artifact.id, self.at if self.past else None)


@dataclass(frozen=True)
class _Known:
    """What was read for one case; evaluations are newest first, `standing` is by environment."""

    job: Row | None = None
    judged: Row | None = None
    evaluations: Sequence[Row] = ()
    standing: Mapping[str, Row] = field(default_factory=dict)
    champions: Sequence[Row] = ()
    reproduction: Row | None = None
    scan: Row | None = None
    approvals: Sequence[Row] = ()
    overridden: Row | None = None
    tries: int = 0


_OF_STANDING = frozenset({"current", "environments", "comparison"})
_OF_JOBS = frozenset({"provenance", "people", "evaluations"})
_OF_EVALUATIONS = frozenset({"evaluations", "people", "comparison"})


def at_hand(case: Case) -> dict[str, Any]:
    """Return what is known of a case without reading anything; not of the past."""
    return _inputs(case, _Known(), frozenset(), ())


def gather(tx: Connection, cases: Sequence[Case], wanted: Collection[str], environments: Sequence[str]) -> list[dict[str, Any]]:
    """Return what rules see of each case: what is always known and, of the rest, what is wanted.

    Args:
        tx: reads it, in one statement for each kind of row, however many cases there are.
        cases: what is judged; all of them now, or all in the past.
        wanted: names of inputs.
        environments: the configured ones, each of which is shown, also where nothing is current.
    """
    names = frozenset(wanted)
    return [_inputs(case, known, names, environments) for case, known in zip(cases, _read(tx, cases, names), strict=True)]


def _read(tx: Connection, cases: Sequence[Case], wanted: frozenset[str]) -> list[_Known]:
    places = [case.place for case in cases]
    past = any(case.past for case in cases)
    nothing: list[Any] = [None] * len(cases)
    no_rows: list[Sequence[Row]] = [()] * len(cases)
    standing = judged_rows.standing(tx, [case.artifact.model for case in cases], places) if wanted & _OF_STANDING else nothing
    columns = (
        _jobs(tx, cases) if past or wanted & _OF_JOBS else nothing,
        judged_rows.judged(tx, places, [case.judged.digest if case.judged else None for case in cases]) if past else nothing,
        judged_rows.evaluations(tx, places) if wanted & _OF_EVALUATIONS else no_rows,
        [rows or {} for rows in standing],
        _champions(tx, cases, standing) if "comparison" in wanted else no_rows,
        judged_rows.reproductions(tx, places) if "reproduction" in wanted else nothing,
        judged_rows.scans(tx, places) if "scan" in wanted else nothing,
        _approvals(tx, cases) if "approvals" in wanted else no_rows,
        tried_rows.overridden(tx, [case.overrides for case in cases]) if "overrides" in wanted else nothing,
        tried_rows.numbers(tx, [_tried(case) for case in cases]) if "tries" in wanted else [0] * len(cases),
    )
    return [_Known(*of_case) for of_case in zip(*columns, strict=True)]


def _jobs(tx: Connection, cases: Sequence[Case]) -> list[Row | None]:
    ids = [case.artifact.training_job_id for case in cases]
    jobs = judged_rows.jobs(tx, {one for one in ids if one})
    return [jobs.get(one) if one else None for one in ids]


def _tried(case: Case) -> Tried:
    return Tried(case.environment, case.artifact.model, case.artifact.checksum, case.place.until)


def _champions(tx: Connection, cases: Sequence[Case], standing: Sequence[Mapping[str, Row]]) -> list[Sequence[Row]]:
    """Return the evaluations of what is current where each is to go."""
    current = [here.get(case.environment) for case, here in zip(cases, standing, strict=True)]
    places = [Place(here["artifact_id"], case.place.until) for case, here in zip(cases, current, strict=True) if here]
    found = iter(judged_rows.evaluations(tx, places))
    return [next(found) if here else () for here in current]


def _approvals(tx: Connection, cases: Sequence[Case]) -> list[Sequence[Row]]:
    asked = [case.promotion_id if case.stage is Stage.APPLY else None for case in cases]  # before, there is nothing to agree to
    found = iter(judged_rows.approvals(tx, [(promotion, case.at) for promotion, case in zip(asked, cases, strict=True) if promotion]))
    return [next(found) if promotion else () for promotion in asked]


def _inputs(case: Case, known: _Known, wanted: frozenset[str], environments: Sequence[str]) -> dict[str, Any]:
    judged = _judged(case, known.judged, known.job)
    inputs = {
        "artifact": views.artifact(case.artifact),
        "evaluation": judged,
        "requester": case.requester,
        "environment": case.environment,
        "stage": case.stage.value,
        "now": timestamp(case.at),
        "rollout": rollout_views.rollout(case.rollout, from_operator=case.from_operator),
        "rollback": _rollback(case),
    }
    current = known.standing.get(case.environment)
    more: dict[str, Callable[[], Any]] = {
        "provenance": lambda: views.provenance(known.job),
        "evaluations": lambda: [views.recorded(row, known.job) for row in known.evaluations],
        "current": lambda: None if current is None else views.current(current),
        "comparison": lambda: views.comparison(case.judged, known.evaluations, known.champions),
        "reproduction": lambda: views.reproduction(known.reproduction),
        "scan": lambda: views.scan(known.scan),
        "drift": lambda: None,
        "approvals": lambda: [views.approval(row) for row in known.approvals],
        "environments": lambda: views.environments(known.standing, environments),
        "overrides": lambda: views.overrides(known.overridden),
        "tries": lambda: known.tries,
        "people": lambda: _people(case, known.job, judged, known.evaluations),
    }
    return inputs | {name: made() for name, made in more.items() if name in wanted}


def _rollback(case: Case) -> dict[str, Any] | None:
    if case.goes_back is None:
        return None
    rollback, from_version = case.goes_back
    return rollout_views.rollback(rollback.reason, from_version, case.artifact.version)


def _judged(case: Case, recorded: Row | None, job: Row | None) -> dict[str, Any] | None:
    if case.judged is None:
        return None
    if case.evaluation is None and recorded is not None:
        return views.recorded(recorded, job)
    known = case.evaluation
    datasets = case.training_datasets if job is None else job["dataset_refs"]
    return views.evaluation(
        kind=case.judged.kind,
        metrics=case.judged.metrics,
        spec=known.spec if known else None,
        spec_digest=case.judged.spec_digest,
        training_datasets=canonical_json.loads(datasets) if datasets else [],
        recorded_by=known.recorded_by if known else case.requester,
        recorded_at=known.created_at if known else case.asked_at,
    )


def _people(case: Case, job: Row | None, judged: Mapping[str, Any] | None, evaluations: Sequence[Row]) -> dict[str, Any]:
    evaluators = {row["recorded_by"] for row in evaluations} | ({judged["recordedBy"]} if judged else set())
    return {
        "requester": case.requester,
        "asker": case.asked_by or case.requester,
        "trainer": job["requested_by"] if job else None,
        "registrar": case.artifact.registered_by,
        "evaluators": sorted(evaluators),
    }
