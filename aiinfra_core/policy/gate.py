"""The one place that knows which gate the operator chose."""

from aiinfra_core import outbound
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.policy import local, sentinelnet
from aiinfra_core.policy.question import Question
from aiinfra_core.settings import Settings


def decide(settings: Settings, question: Question) -> Decision:
    """Ask the gate and return its whole decision: SentinelNet where its URL is set, else the local rule.

    Raises:
        Misconfigured: the URL cannot be used. What the gate does raises nothing.
    """
    if settings.sentinel_url is None:
        return local.decide(question, settings.min_promo_score)
    url = outbound.endpoint("AI_INFRA_SENTINEL_URL", settings.sentinel_url)
    return sentinelnet.ask(url, question, outbound.Patience(settings.sentinel_timeout_seconds))
