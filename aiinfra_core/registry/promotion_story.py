"""Everything an approver looks at before they agree to a promotion, and an auditor afterwards; read as of one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.domain.scan import Scan
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.registry import artifacts, dossier, evaluations, jobs, policy_decisions, reproductions, scans
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.policy_decisions import GateDecision
from aiinfra_core.registry.rows import first
from aiinfra_core.tables import model_promotions, policies

MOST_EVALUATIONS = 20
_REPLACED = select(model_promotions.c.artifact_id).where(model_promotions.c.manifest == bindparam("manifest"))
_POLICY = select(policies.c.document).where(policies.c.digest == bindparam("digest"))


@dataclass(frozen=True)
class Scored:
    """A version and how it scored, newest first."""

    artifact: Artifact
    evaluations: tuple[Evaluation, ...]

    @property
    def name(self) -> str:
        """The version as people say it."""
        return f"{self.artifact.model}:{self.artifact.version}"


@dataclass(frozen=True)
class Story:
    """A promotion, what it is about, what it replaces, what the gates said; `reproduction` and `scan` are the newest.

    `expressions` are those of the policies that were applied: digest -> rule -> its CEL.
    """

    known: Dossier
    job: TrainingJob | None
    challenger: Scored
    champion: Scored | None
    decisions: tuple[GateDecision, ...]
    expressions: Mapping[str, Mapping[str, str]]
    reproduction: Reproduction | None
    scan: Scan | None


def of_promotion(tx: Connection, promotion_id: UUID) -> Story:
    """Return the story of a promotion.

    Raises:
        NotFound: there is no such promotion.
    """
    known = dossier.of_promotion(tx, promotion_id)
    decisions = policy_decisions.of_promotion(tx, promotion_id)
    artifact, job_id = known.artifact, known.artifact.training_job_id
    replaced = first(tx, _REPLACED, {"manifest": known.promotion.follows}) if known.promotion.follows else None
    return Story(
        known=known,
        job=jobs.get(tx, job_id) if job_id else None,
        challenger=_scored(tx, artifact),
        champion=_scored(tx, artifacts.get(tx, replaced["artifact_id"])) if replaced else None,
        decisions=tuple(decisions),
        expressions={digest: _expressions(tx, digest) for digest in {one.decision.policy_digest for one in decisions} if digest},
        reproduction=reproductions.newest(tx, artifact.id),
        scan=scans.newest(tx, artifact.id),
    )


def _scored(tx: Connection, artifact: Artifact) -> Scored:
    return Scored(artifact, tuple(evaluations.of_artifact(tx, artifact.id)[: -MOST_EVALUATIONS - 1 : -1]))


def _expressions(tx: Connection, digest: str) -> dict[str, str]:
    row = first(tx, _POLICY, {"digest": digest})
    return {rule["id"]: rule["expression"] for rule in canonical_json.loads(row["document"])["rules"]} if row else {}
