"""Asking for a promotion: what the same question gave before, and when it is asked anew.

The row of a request lives in `registry.promotion_requests`, the steps that carry it out in `promoting`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy import Connection

from aiinfra_core import database, deciding
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.promotion import REFUSED, PromotionRequest, PromotionStatus, Stage
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.errors import BadInput, Conflict, Misconfigured, Outdated, RequestIdReused
from aiinfra_core.evidence import rollouts
from aiinfra_core.evidence.rollouts import Split
from aiinfra_core.policy import files, gate
from aiinfra_core.registry import artifacts, dossier, policy_decisions, promotion_requests, promotions
from aiinfra_core.registry.dossier import Candidate, Dossier
from aiinfra_core.registry.policy_inputs import Case
from aiinfra_core.registry.promotion_requests import ToJudge, Way
from aiinfra_core.settings import Settings

# What is superseded where nothing else became current was so by a rollout that is over.
_CAME_TO_NOTHING = (PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED)
_MAY_BE_ASKED_ANEW = (*REFUSED, *_CAME_TO_NOTHING)
_DIGITS, _SALT, _MOST_CHANGES = 64, 32, 10**9  # at most: of a manifest's digest, of a salt that is drawn, how often traffic changes
_MOST_LINKS = 1000  # a request id of one's own asks anew also after that many


@dataclass(frozen=True)
class Asked:
    """A request with what it is about: the environment, the artifact with what it would replace, and what it is judged on.

    `wanted` is by what it would earn its traffic here, None for nothing; `rollback` why it goes back. What is `unroutable` cannot be
    rolled out: what says where its traffic goes would be too long to sign.
    """

    request: PromotionRequest
    environment: str
    candidate: Candidate
    evaluation: ToJudge | None
    asked_by: str
    wanted: RolloutSpec | None = None
    rollback: Rollback | None = None
    unroutable: bool = False

    @property
    def said(self) -> Way:
        """What tells the question from another; without an id of its own it is another one where the operator has another way by now."""
        rollout = self.wanted if self.request.request_id is None else self.request.rollout
        return Way(rollout, self.rollback, self.request.overrides)

    @property
    def way(self) -> Way:
        """How it is to become current; all at once where nothing else is so, as there is nothing to compare it with."""
        return Way(self.wanted if self._is_beside else None, self.rollback, self.request.overrides)

    @property
    def _is_beside(self) -> bool:
        replaces = self.candidate.replaces
        return replaces.sequence > 0 and replaces.artifact_id != self.candidate.artifact.id

    @property
    def open_rollout(self) -> UUID | None:
        """The rollout that is open where it is to become current."""
        return self.candidate.replaces.rollout_id

    @property
    def overrides_at_once(self) -> bool:
        """Whether bytes that were sent back would get all traffic at once, beside something else that has it."""
        return self.request.overrides is not None and self.way.rollout is None and self._is_beside

    @property
    def overrides_nothing(self) -> bool:
        """Whether it overrides a rollout that did not send these bytes back, or not as the last one."""
        return self.request.overrides not in (None, self.candidate.sent_back_by)

    @property
    def seen(self) -> int:
        """The sequence of what the requester saw to be current."""
        said = self.request.sequence_seen
        return self.candidate.replaces.sequence if said is None else said

    @property
    def outdated(self) -> bool:
        """Whether something else is current than the requester saw."""
        return self.seen != self.candidate.replaces.sequence


def ask(settings: Settings, asked: Asked) -> Dossier:
    """Record that somebody asks for a promotion, once, and return it; what was asked before gives what it gave.

    Without a request id of its own a question that only the local policy refused, or nobody agreed to in time, is asked anew where that
    policy would say yes by now.

    Raises:
        Outdated: what is current is no longer what was seen, and this was not asked before; nothing is recorded.
        Conflict: the request id was used for another promotion, or by another requester; or a rollout is open there.
        BadInput: it overrides what there is nothing of, or without a rollout; or it cannot be rolled out.
    """
    replaces, own = asked.candidate.replaces, asked.request.request_id
    default = (asked.candidate.artifact, asked.environment, asked.evaluation, asked.seen, asked.said)
    request_id = own or promotion_requests.default_id(*default)
    with database.autocommit(settings) as connection:
        if own is None and replaces.promotion_id and not asked.outdated and _is_current(asked):
            return dossier.of_promotion(connection, replaces.promotion_id)
        asked = replace(asked, unroutable=_unroutable(connection, asked))
        may_be_new = not (asked.outdated or asked.open_rollout or asked.unroutable or asked.overrides_nothing or asked.overrides_at_once)
        known = (_requested if may_be_new else _recorded)(connection, asked, request_id)
        if known is None:
            _refuse(asked)
    return known if own else _last(settings, asked, known)


def _unroutable(connection: Connection, asked: Asked) -> bool:
    spec, replaces = asked.way.rollout, asked.candidate.replaces
    if spec is None or replaces.artifact_id is None:
        return False
    manifest, at = "0" * _DIGITS, datetime.now(UTC)
    try:
        rollouts.routing(
            environment=asked.environment,
            sequence=replaces.sequence,
            changes=_MOST_CHANGES,
            champion=(artifacts.get(connection, replaces.artifact_id), manifest),
            challenger=(asked.candidate.artifact, manifest),
            split=Split(UUID(int=0), len(spec.weights), WHOLE, spec.salt or "0" * _SALT, spec.unit),
            issued_at=at,
            expires_at=at,
        )
    except BadInput:
        return True
    return False


def _is_current(asked: Asked) -> bool:
    judged = asked.evaluation.digest if asked.evaluation else None
    replaces = asked.candidate.replaces
    return (replaces.artifact_id, replaces.evaluation_digest) == (asked.candidate.artifact.id, judged)


def _requested(connection: Connection, asked: Asked, request_id: str) -> Dossier:
    gave = promotion_requests.request(
        connection,
        **_about(asked),
        way=asked.way,
        replaces=asked.candidate.replaces,
        requested_by=asked.request.requested_by,
        asked_by=asked.asked_by,
        request_id=request_id,
        at=datetime.now(UTC),
    )
    if isinstance(gave, UUID):
        return _known(connection, gave, asked.request)
    return asked.candidate.with_promotion(gave, _evaluation(asked))


def _recorded(connection: Connection, asked: Asked, request_id: str) -> Dossier | None:
    earlier = promotion_requests.asked_before(connection, **_about(asked), request_id=request_id)
    return _known(connection, earlier, asked.request) if earlier else None


def _about(asked: Asked) -> dict[str, Any]:
    about = {"artifact": asked.candidate.artifact, "environment": asked.environment, "evaluation": asked.evaluation}
    return {**about, "said": asked.said}


def _evaluation(asked: Asked) -> Evaluation | None:
    return asked.evaluation if isinstance(asked.evaluation, Evaluation) else None


def _known(connection: Connection, promotion_id: UUID, request: PromotionRequest) -> Dossier:
    known = dossier.of_promotion(connection, promotion_id)
    if request.request_id is not None and known.promotion.requested_by != request.requested_by:
        raise RequestIdReused(f"Promotion {promotion_id} was asked for by {known.promotion.requested_by}; choose a new request id.")
    return known


# Each id follows from the promotion before it, so that whoever asks at once, or again after a kill, comes to the same one.
def _last(settings: Settings, asked: Asked, known: Dossier) -> Dossier:
    """Return what the question gave last, which is asked for now where it may be."""
    for _ in range(_MOST_LINKS):
        if known.promotion.status not in _MAY_BE_ASKED_ANEW:
            break
        next_id = promotion_requests.id_after(known.promotion.id)
        with database.autocommit(settings) as connection:
            later = _recorded(connection, asked, next_id)
            stage = None if later or _is_outdated(connection, asked) else _refused_at(connection, known)
        if later is None:
            if stage is None or not _allowed_now(settings, asked, known, stage):
                break
            if asked.open_rollout or asked.unroutable or asked.overrides_at_once:
                _refuse(asked)
            with database.autocommit(settings) as connection:
                later = _requested(connection, asked, next_id)
        known = later
    return known


# Read anew: what was superseded may have been so since this request began, by what is current now.
def _is_outdated(connection: Connection, asked: Asked) -> bool:
    return promotions.sequence(connection, asked.environment, asked.candidate.artifact.model) != asked.seen


def _refused_at(connection: Connection, known: Dossier) -> Stage | None:
    """Return the stage at which the local policy, and nothing else, said no; for what came to nothing the first; else None."""
    noes = [one for one in policy_decisions.of_promotion(connection, known.promotion.id) if not one.decision.allowed]
    if any(no.gate != gate.LOCAL for no in noes):
        return None
    unrefused = known.promotion.status in _CAME_TO_NOTHING
    return noes[-1].stage if noes else (Stage.REQUEST if unrefused else None)


def _allowed_now(settings: Settings, asked: Asked, known: Dossier, stage: Stage) -> bool:
    if gate.LOCAL not in gate.gates(settings):
        return known.promotion.status in _CAME_TO_NOTHING  # it said no to nothing; what is a gate now is asked with the new one
    try:
        policy = files.load(settings, asked.environment, asked.candidate.artifact.model)
    except Misconfigured:
        return False
    return deciding.ask_policies(settings, [(policy, _case(settings, asked, known, stage))])[0].decision.allowed


# Before it is applied, a policy may look at who agreed: to what was refused, as nobody could yet agree to the new one.
def _case(settings: Settings, asked: Asked, known: Dossier, stage: Stage) -> Case:
    at = datetime.now(UTC)
    return Case(
        artifact=asked.candidate.artifact,
        environment=asked.environment,
        requester=asked.request.requested_by,
        asked_by=None if asked.asked_by == asked.request.requested_by else asked.asked_by,
        judged=asked.evaluation,
        asked_at=at,
        at=at,
        stage=stage,
        promotion_id=known.promotion.id,
        evaluation=_evaluation(asked),
        training_datasets=asked.candidate.training_datasets,
        rollout=asked.way.rollout,
        overrides=asked.request.overrides,
        goes_back=deciding.goes_back(settings, known.promotion),
    )


def _refuse(asked: Asked) -> NoReturn:
    model, environment = asked.candidate.artifact.model, asked.environment
    if asked.outdated:
        current = asked.candidate.replaces.sequence
        raise Outdated(f"What is current for {model} in {environment} is at sequence {current} now; look at it and ask again.")
    if asked.open_rollout:
        raise Conflict(
            f"Rollout {asked.open_rollout} of {model} is open in {environment}; wait until it is over (aiinfra rollout show"
            f" {asked.open_rollout}), or end it first: aiinfra rollout abort {asked.open_rollout} --reason WHY"
        )
    if asked.unroutable:
        raise BadInput(
            f"{model}:{asked.candidate.artifact.version} cannot be rolled out in {environment}: what says where traffic goes names its"
            " URI and that of what is current: too long to sign; register it under a shorter URI, or promote it with --at-once."
        )
    if asked.overrides_at_once and not asked.overrides_nothing:
        raise BadInput(
            f"Rollout {asked.request.overrides} sent these bytes of {model} back in {environment}, so they cannot get all traffic at once;"
            f" let them earn it: --override {asked.request.overrides} --weights 5,25,50,100"
        )
    by = asked.candidate.sent_back_by
    instead = f"the last one that did is {by}" if by else "none did, so leave the override out"
    raise BadInput(f"Rollout {asked.request.overrides} did not send these bytes of {model} back in {environment}; {instead}.")
