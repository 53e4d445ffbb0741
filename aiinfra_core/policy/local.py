"""The gate without a SentinelNet: one rule, a model must score at least a minimum quality. Asking over HTTP lives in `sentinelnet`."""

import math
from typing import Any, TypeGuard

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.errors import NotFound
from aiinfra_core.policy.question import Question

SOURCE = "local"
ALLOW, LOW_QUALITY = "sentinel-allow", "sentinel-low-quality"
_RULE = "evaluation.quality >= minimum"


def decide(question: Question, minimum: float) -> Decision:
    """Say yes if the evaluation's `quality` is a finite number and at least `minimum`; a missing or other value is a no.

    The answer holds the policy itself, so that whoever sees the digest can be shown what it is of.
    """
    quality = question.evaluation.get("quality")
    allowed = _is_score(quality) and quality >= minimum
    return Decision(
        allowed=allowed,
        decision="allow" if allowed else "deny",
        policy_id=ALLOW if allowed else LOW_QUALITY,
        reason=_reason(quality, minimum),
        source=SOURCE,
        policy_digest=policy_digest(minimum),
        answer=_policy(minimum),
    )


def policy_digest(minimum: float) -> str:
    """Return the hex SHA-256 of the canonical JSON of the rule and its minimum, as a decimal string."""
    return sha256_hex(canonical_json.dumps(_policy(minimum)))


def policy_text(decision: Decision) -> bytes:
    """Return the exact bytes that the policy digest of a decision is of.

    Raises:
        NotFound: the decision is not this gate's, or does not hold its policy.
    """
    text = canonical_json.dumps(decision.answer)
    if decision.source != SOURCE or sha256_hex(text) != decision.policy_digest:
        raise NotFound(f"The policy {decision.policy_digest} is kept by {decision.source} alone; ask there for its text.")
    return text


def _policy(minimum: float) -> dict[str, str]:
    return {"rule": _RULE, "minimum": str(float(minimum))}


# NaN fails both comparisons, and an integer too large for a float is still compared exactly.
def _is_score(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def _reason(quality: Any, minimum: float) -> str:
    if quality is None:
        return f"The evaluation has no quality score; at least {minimum} is required."
    if not _is_score(quality):
        return f"The quality score {str(quality)[:40]!r} is not a finite number; at least {minimum} is required."
    return f"The quality score {quality} is {'at least' if quality >= minimum else 'below'} the required {minimum}."
