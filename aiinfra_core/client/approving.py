"""What the client asks about approvals: who agreed to a promotion, agree, take that back."""

import base64
from uuid import UUID

from aiinfra_core.client.answers import page_of_html
from aiinfra_core.client.calls import BELOW, Calls, checked, new_key, segment
from aiinfra_core.client.connection import Question
from aiinfra_core.wire.approvals import AskedApproval, AskedWithdrawal, SentAgreement, SentApprovals


class Approving(Calls):
    """Approvals of promotions."""

    def approvals(self, promotion_id: UUID | str) -> SentApprovals:
        """Return what a promotion waits for, the signed manifest that approvals of it are about, and those that were given.

        Raises:
            NotFound: there is no such promotion.
        """
        return self._read(SentApprovals, _approvals(promotion_id))

    def approve(
        self,
        promotion_id: UUID | str,
        manifest: str,
        *,
        comment: str | None = None,
        envelope: bytes | None = None,
        request_id: str | None = None,
    ) -> SentAgreement:
        """Agree to a promotion and return how it then stands; the approval that was missing carries it on.

        Args:
            promotion_id: the promotion.
            manifest: digest of the manifest you saw.
            comment: what is to be kept with it.
            envelope: your approval as a DSSE envelope signed with a key of yours; without it the service vouches for you.
            request_id: your name for this request; an approval is given once, whatever it is called.

        Raises:
            Outdated: the promotion has another manifest than you saw.
            Conflict: it waits for nobody (any more).
            Forbidden: your approval does not count: you asked for it, have a part that is kept apart, or no role that is asked for.
        """
        asked = checked(AskedApproval, manifest=manifest, comment=comment, envelope_base64=_text(envelope))
        return self._write(SentAgreement, _approvals(promotion_id), asked, key=request_id or new_key(), takes_long=True)

    def withdraw_approval(
        self,
        promotion_id: UUID | str,
        approval_id: UUID | str,
        *,
        reason: str | None = None,
        envelope: bytes | None = None,
        request_id: str | None = None,
    ) -> SentAgreement:
        """Take an approval of yours back, as long as its promotion is not applied; `envelope` is signed as the approval was.

        Raises:
            NotFound: there is no such approval.
            Conflict: the promotion was applied, or is over.
        """
        asked = checked(AskedWithdrawal, reason=reason, envelope_base64=_text(envelope))
        path = f"{_approvals(promotion_id)}/{segment(approval_id)}/withdraw"
        return self._write(SentAgreement, path, asked, key=request_id or new_key())

    def promotion_page(self, promotion_id: UUID | str) -> str:
        """Return the HTML page that shows an approver what they would agree to."""
        answer = self._connection.ask(Question("GET", f"{BELOW}/promotions/{segment(promotion_id)}/page"))
        return page_of_html(answer, self._connection.url)


def _approvals(promotion_id: UUID | str) -> str:
    return f"{BELOW}/promotions/{segment(promotion_id)}/approvals"


def _text(envelope: bytes | None) -> str | None:
    return None if envelope is None else base64.b64encode(envelope).decode()
