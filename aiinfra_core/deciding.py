"""What the gates are asked about a promotion, and what all of them together say; each answer is kept on its own.

How a rule is judged lives in `policy` and `rules`, the moves of a promotion in `promoting` and `registry.promotion_moves`.
"""

from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Decision, Promotion, Stage
from aiinfra_core.policy import gate
from aiinfra_core.policy.question import Question
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.settings import Settings


def decide(settings: Settings, known: Dossier, stage: Stage) -> Decision:
    """Ask every gate that has to agree, keep each answer, and return what they say together; asked again, return what was kept."""
    return gate.decide(settings, _question(known.promotion, known.artifact))


def _question(promotion: Promotion, artifact: Artifact) -> Question:
    return Question(
        request_id=str(promotion.id),
        actor=promotion.requested_by,
        artifact_id=artifact.id,
        model=artifact.model,
        version=artifact.version,
        digest=artifact.checksum,
        environment=promotion.environment,
        evaluation=promotion.evaluation,
        promotion_id=promotion.id,
        manifest_signature_id=artifact.manifest_signature_id,
    )
