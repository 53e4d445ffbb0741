"""What the gates are asked about a promotion, and what all of them together say.

How a rule is judged lives in `policy` and `rules`, the moves of a promotion in `promoting` and `registry.promotion_moves`, which keeps each
answer with the move it leads to.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from aiinfra_core import canonical_json, database, rollout_specs
from aiinfra_core.domain.artifact import Artifact, JudgedEvaluation
from aiinfra_core.domain.promotion import Promotion, Stage
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.policy import files, gate, local
from aiinfra_core.policy.question import Question
from aiinfra_core.registry import dossier, evaluations, policy_decisions, policy_inputs, previous
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.policy_decisions import Answer, Judgement
from aiinfra_core.registry.policy_inputs import ALWAYS, Case
from aiinfra_core.rules import rollout_views
from aiinfra_core.rules.document import Policy
from aiinfra_core.rules.judging import names_used
from aiinfra_core.settings import Settings, environment_named

_adopted: set[tuple[str, str]] = set()  # database and digest of policies that are known to be kept there


def decide(settings: Settings, known: Dossier, stage: Stage) -> Judgement:
    """Ask every gate that has to agree to a promotion; no answer is kept here, and asked again in the same state it is the same check.

    Raises:
        Misconfigured: the policy or the URL cannot be used. A gate's trouble is a no that says so.
    """
    answers = [_ask(settings, name, known, stage) for name in gate.gates(settings)]
    return Judgement(stage, gate.together([answer.decision for answer in answers]), answers)


def preview(settings: Settings, reference: str, environment: str, requester: str) -> tuple[Artifact, Policy, Answer]:
    """Return what the local policy would say now if somebody asked to promote an artifact; nothing is recorded, SentinelNet is not asked.

    Raises:
        NotFound: the artifact or the environment does not exist.
        Misconfigured: the policy cannot be used.
    """
    place, at = environment_named(settings, environment), datetime.now(UTC)
    with database.autocommit(settings) as connection:
        candidate = dossier.candidate(connection, reference, place)
        judged = evaluations.newest_measured(connection, candidate.artifact.id)
    case = Case(
        artifact=candidate.artifact,
        environment=place,
        requester=requester,
        judged=judged,
        asked_at=at,
        at=at,
        evaluation=judged,
        training_datasets=candidate.training_datasets,
        rollout=rollout_specs.effective(settings, place, candidate.artifact.model, None),
    )
    policy = files.load(settings, place, candidate.artifact.model)
    return candidate.artifact, policy, ask_policies(settings, [(policy, case)])[0]


def ask_policies(settings: Settings, asked: Sequence[tuple[Policy, Case]]) -> list[Answer]:
    """Return what a policy says about each case, now or all in the past; what rules see is read for all of them at once."""
    policies = {id(policy): policy for policy, _ in asked}
    wanted = frozenset[str]().union(*map(names_used, policies.values())) - {"parameters"}
    return [_judged(settings, policy, case, seen) for (policy, case), seen in zip(asked, _seen(settings, asked, wanted), strict=True)]


def _seen(settings: Settings, asked: Sequence[tuple[Policy, Case]], wanted: frozenset[str]) -> list[dict[str, object]]:
    cases = [replace(case, from_operator=_is_operators(settings, case)) if case.rollout else case for _, case in asked]
    if wanted <= ALWAYS and not any(case.past for case in cases):
        return [policy_inputs.at_hand(case) for case in cases]
    with database.autocommit(settings) as connection:
        return policy_inputs.gather(connection, cases, wanted, settings.environments)


def _is_operators(settings: Settings, case: Case) -> bool:
    return case.rollout == rollout_specs.of_operator(settings, case.environment, case.artifact.model)


# What is judged is read from the text that is kept, so that whoever judges again sees the very same.
def _judged(settings: Settings, policy: Policy, case: Case, seen: dict[str, object]) -> Answer:
    text = canonical_json.dumps(seen | {"parameters": policy.parameters}).decode()
    return Answer(local.decide(policy, canonical_json.loads(text), case.stage, settings.policy_seconds), text)


def _ask(settings: Settings, name: str, known: Dossier, stage: Stage) -> Answer:
    if name == gate.SENTINELNET:
        return Answer(gate.ask_sentinelnet(settings, _question(settings, known, stage)))
    policy = files.load(settings, known.promotion.environment, known.promotion.model)
    answer = ask_policies(settings, [(policy, _case(settings, known, stage))])[0]
    _adopt(settings, policy, answer.decision.policy_digest, known.promotion.requested_by)
    return answer


def _adopt(settings: Settings, policy: Policy, digest: str | None, requester: str) -> None:
    place = (database.url(settings), digest or policy.digest())
    if place not in _adopted:
        with database.autocommit(settings) as connection:
            policy_decisions.adopt(connection, policy, by=requester, at=datetime.now(UTC))
        _adopted.add(place)


def goes_back(settings: Settings, promotion: Promotion) -> tuple[Rollback, int] | None:
    """Return why a promotion goes back and from which version, None where it does not."""
    if promotion.rollback is None:
        return None
    with database.autocommit(settings) as connection:
        return promotion.rollback, previous.version_of(connection, promotion.rollback.replaces)


def _case(settings: Settings, known: Dossier, stage: Stage) -> Case:
    promotion, recorded = known.promotion, known.evaluation
    judged = promotion.evaluation_kind and JudgedEvaluation(
        kind=promotion.evaluation_kind,
        metrics=promotion.evaluation,
        digest=promotion.evaluation_digest or "",
        spec_digest=recorded.spec_digest if recorded else None,
    )
    return Case(
        artifact=known.artifact,
        environment=promotion.environment,
        requester=promotion.requested_by,
        asked_by=promotion.asked_by,
        judged=judged or None,
        asked_at=promotion.created_at,
        at=datetime.now(UTC),
        stage=stage,
        promotion_id=promotion.id,
        evaluation=recorded,
        training_datasets=known.training_datasets,
        rollout=promotion.rollout,
        overrides=promotion.overrides,
        goes_back=goes_back(settings, promotion),
    )


def _question(settings: Settings, known: Dossier, stage: Stage) -> Question:
    promotion, artifact, back = known.promotion, known.artifact, goes_back(settings, known.promotion)
    return Question(
        request_id=_request_id(known, stage),
        actor=promotion.requested_by,
        artifact_id=artifact.id,
        model=artifact.model,
        version=artifact.version,
        digest=artifact.checksum,
        environment=promotion.environment,
        evaluation=promotion.evaluation,
        promotion_id=promotion.id,
        manifest_signature_id=artifact.manifest_signature_id,
        rollback=back and rollout_views.rollback(back[0].reason, back[1], artifact.version),
    )


# Asked again before it is applied it is another check, and each time somebody agreed or took that back it is another.
def _request_id(known: Dossier, stage: Stage) -> str:
    if stage is Stage.REQUEST:
        return str(known.promotion.id)
    return f"{known.promotion.id}:{stage}:{known.promotion.updated_at.timestamp():.6f}"
