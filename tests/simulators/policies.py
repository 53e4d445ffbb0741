"""Policies of a test's own, as files that settings name."""

from pathlib import Path
from typing import Any

from aiinfra_core import promoting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.settings import Settings

SEES_EVERYTHING = """\
name: sees-everything
version: "1"
answers: {allow: fine, deny: not-fine}
parameters: {least: 0.5}
rules:
  - id: scored
    expression: evaluation.metrics.quality >= parameters.least
    reason: "It scored {evaluation.metrics.quality}, and {parameters.least} is the least."
    missing: It has no score.
  - id: looks-at-everything
    expression: >-
      artifact.version > 0 || provenance != null || evaluations != null || current != null || comparison != null || reproduction != null
      || scan != null || approvals != null || environments != null || people != null || overrides != null
      || tries > 0 || requester != "" || environment != "" || now != ""
    reason: never
"""
AT_THE_END = """
  - id: not-now
    stage: apply
    expression: "environment != 'prod' || requester == 'nobody'"
    reason: Something came in between.
"""


def under(settings: Settings, folder: Path, text: str = SEES_EVERYTHING) -> Settings:
    """Return settings under a policy with this text."""
    file = folder / f"policy-{len(list(folder.glob('policy-*')))}.yaml"
    file.write_text(text)
    return settings.model_copy(update={"policy": str(file)})


def promote(settings: Settings, artifact: Artifact, to: str = "prod", quality: float | None = 0.9, **more: Any) -> Promotion:
    """Ask for a promotion by paul on a claimed score, or without one on what was measured; other arguments are fields of the request."""
    claimed = None if quality is None else {"quality": quality}
    asked = {"artifact": str(artifact.id), "environment": to, "evaluation": claimed, "requested_by": "paul"}
    return promoting.promote(settings, PromotionRequest.model_validate(asked | more))
