"""Ask for two promotions that wait for people, agree, take that back and agree again, in a forked child that is killed as `killed_at` says.

Started by test_killed_approving. Everything a person signs is the same each time.
"""

from contextlib import suppress

from aiinfra_core import approving, promoting
from aiinfra_core.approving import statements, waiting
from aiinfra_core.domain.approval import Approval, Means
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.errors import Conflict
from aiinfra_core.evidence import claims, dsse
from aiinfra_core.settings import Settings
from tests.faults import killed_at
from tests.simulators import approvers
from tests.simulators.trust_files import signer


def story(settings: Settings) -> None:
    """Let one of two promotions be agreed to in the end; the other is overtaken by it."""
    place = settings.model_copy(update={"trust_root": settings.home / "trust" / "1.root.json"})
    chosen, other = (approvers.registered(place, content) for content in ("weights", "others"))
    waits, _ = (_asked(place, artifact) for artifact in (chosen, other))
    with suppress(Conflict):  # it was taken back, and is not given again
        _agree(place, chosen, waits, "alice")
    first = next(one for one in approvers.given(place, waits) if one.approver == "alice")
    withdrawal = statements.unsigned_withdrawal(first, at=first.created_at)
    payload = claims.of_withdrawal(withdrawal, first, waits, chosen)
    approving.withdraw(place, first.id, envelope=dsse.sign(payload, signer("alice")))
    _agree(place, chosen, waits, "bob")
    approvers.agree_by_name(place, waits, "dora", "security")
    waiting.go_on(place)


def _asked(place: Settings, artifact: Artifact) -> Promotion:
    request = PromotionRequest(
        artifact=str(artifact.id),
        environment="prod",
        evaluation={"quality": 0.9},
        requested_by="paul",
        request_id=artifact.checksum,
        sequence_seen=0,
    )
    return promoting.promote(place, request)


def _agree(place: Settings, artifact: Artifact, promotion: Promotion, name: str) -> Approval:
    payload = claims.of_approval(_unsigned(promotion, name), promotion, artifact)
    envelope = dsse.sign(payload, signer(name))
    return approving.approve(place, promotion.id, manifest=promotion.manifest or "", envelope=envelope)[0]


def _unsigned(promotion: Promotion, name: str) -> Approval:
    assert promotion.pending_until is not None
    return Approval(
        id=promotion.id,
        promotion_id=promotion.id,
        manifest=promotion.manifest or "",
        approver=name,
        means=Means.KEY,
        roles=(),
        comment=None,
        attestation="0" * 64,
        expires_at=promotion.pending_until,
        created_at=promotion.created_at,
    )


if __name__ == "__main__":
    killed_at.main(story)
