"""The one place that knows which gates the operator chose, and what their answers mean together."""

from collections.abc import Sequence

from aiinfra_core import outbound
from aiinfra_core.domain.promotion import Decision
from aiinfra_core.policy import local, sentinelnet
from aiinfra_core.policy.question import Question
from aiinfra_core.settings import Settings

LOCAL, SENTINELNET = local.SOURCE, sentinelnet.SOURCE
_FIRST, _PLAIN, _LAST = ("quarantine", "remediate"), 2, 3


def gates(settings: Settings) -> tuple[str, ...]:
    """Return the gates that all have to say yes: SentinelNet where its URL is set, the local policy where one is named or no URL is set."""
    here = (LOCAL,) if settings.policy or settings.sentinel_url is None else ()
    return here if settings.sentinel_url is None else (*here, SENTINELNET)


def ask_sentinelnet(settings: Settings, question: Question) -> Decision:
    """Ask SentinelNet and return its whole decision.

    Raises:
        Misconfigured: there is no URL, or it cannot be used. What SentinelNet does raises nothing.
    """
    url = outbound.endpoint("AI_INFRA_SENTINEL_URL", settings.sentinel_url or "")
    return sentinelnet.ask(url, question, outbound.Patience(settings.sentinel_timeout_seconds))


def together(decisions: Sequence[Decision]) -> Decision:
    """Return what gates say together: the first yes where all say yes, else the gravest no.

    To quarantine is graver than to mend, that than a plain no, and that than no answer.
    """
    noes = [decision for decision in decisions if not decision.allowed]
    return min(noes, key=_gravity) if noes else decisions[0]


def _gravity(no: Decision) -> int:
    if no.unavailable:
        return _LAST
    return _FIRST.index(no.decision) if no.decision in _FIRST else _PLAIN
