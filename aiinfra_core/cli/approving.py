"""`approve`, `approvals` and `pending`: who has to agree to a promotion, and agreeing to it."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, say_table, score, working
from aiinfra_core.cli.promoting import awaited, exit_code_of
from aiinfra_core.cli.registry import Agreed, Registry, Server, TakenBack, at, registry_at
from aiinfra_core.cli.typed import digest, promotion_id
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.errors import BadInput
from aiinfra_core.rollout_shown import words
from aiinfra_core.wire.approvals import SentApproval, SentApprovals
from aiinfra_core.wire.records import SentPromotion

approvals = App(name="approvals")

PromotionId = Annotated[UUID, Parameter(converter=promotion_id, help="The promotion's id, as `aiinfra pending` shows it.")]
Key = Annotated[
    str | None,
    Parameter(
        help="URI of the key you sign with, such as file:me.key; without it, who you proved to be is vouched for.",
        env_var="AI_INFRA_APPROVAL_SIGNER_URI",
    ),
]
Approver = Annotated[str | None, Parameter(help="Who agrees: with --key the key's owner, as the trust root names them.")]
_MOST = 500


def approve(
    promotion: PromotionId,
    /,
    *,
    manifest: Annotated[
        str | None, Parameter(help="Digest of the manifest you looked at; without it, it is shown, and nothing is signed.")
    ] = None,
    key: Key = None,
    comment: Annotated[str | None, Parameter(help="What is to be kept with your approval.")] = None,
    approver: Approver = None,
    server: Server = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Agree to exactly one manifest; the approval that was missing carries the promotion on."""
    digest("--manifest", manifest, "the manifest you looked at")
    with registry_at(server) as registry:
        if manifest is None:
            return _show(registry.approvals(promotion), server, as_json, to_agree=True)
        envelope = _signed(registry, promotion, manifest, key, approver, here=not server) if key else None
        agreed = Agreed(promotion=promotion, manifest=manifest, approver=approver, comment=comment, envelope=envelope)
        with working("Carrying the promotion on"):
            given = registry.approve(agreed)
        if as_json:
            say_json(given)
        else:
            _say_given(registry, given.approval, given.promotion, server)
    return exit_code_of(given.promotion)


@approvals.command(name="list", help_epilogue=examples("aiinfra approvals list 445498d7-250f-4640-b898-f7dddebc4f86"))
def list_approvals(promotion: PromotionId, /, *, server: Server = None, as_json: AsJson = False) -> ExitCode:
    """Show what a promotion waits for and who agreed."""
    with registry_at(server) as registry:
        return _show(registry.approvals(promotion), server, as_json, to_agree=False)


@approvals.command(
    help_epilogue=examples("aiinfra approvals withdraw 445498d7-250f-4640-b898-f7dddebc4f86 c0d1f6f4-7a9b-4f0e-9d51-3f0f7f5a1b22")
)
def withdraw(
    promotion: PromotionId,
    approval: Annotated[UUID, Parameter(help="The approval's id, as `aiinfra approvals list` shows it.")],
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why.")] = None,
    key: Key = None,
    approver: Approver = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Take an approval of yours back, as long as its promotion is not applied."""
    with registry_at(server) as registry:
        begun = registry.now()
        envelope = _signed_withdrawal(registry, promotion, approval, key, here=not server) if key else None
        taken = TakenBack(promotion=promotion, approval=approval, approver=approver, reason=reason, envelope=envelope)
        found = registry.withdraw(taken)
        if as_json:
            return say_json(found)
        before = found.approval.withdrawn and found.approval.withdrawn.created_at
        was = f"was taken back before, at {before:%Y-%m-%d %H:%M:%S} UTC" if before and before < begun else "is taken back"
        say(f"The approval of {found.approval.approver} {was}.")
        return _say_what_next(registry, found.promotion, server)


@approvals.command(help_epilogue=examples("aiinfra approvals page 445498d7-250f-4640-b898-f7dddebc4f86 --out page.html"))
def page(
    promotion: PromotionId,
    /,
    *,
    out: Annotated[Path, Parameter(help="A new file for the page; open it in a browser.")],
    server: Server = None,
) -> None:
    """Write the page that shows an approver what they would agree to, as HTML that needs no network."""
    with registry_at(server) as registry:
        document = registry.approval_page(promotion)
    try:
        with out.open("x", encoding="utf-8") as opened:
            opened.write(document)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {(error.strerror or 'it cannot').lower()}; choose another --out.") from error
    say(f"{out} is written.")


def pending(
    *,
    limit: Annotated[int, Parameter(help=f"How many, at most {_MOST}.")] = 50,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List the promotions that wait for people, newest first."""
    if not 1 <= limit <= _MOST:
        raise BadInput(f"--limit must be between 1 and {_MOST}.")
    with registry_at(server) as registry:
        found = registry.pending(limit)
        if as_json:
            return say_json(list(found))
        if not found:
            return say("No promotion waits for anybody.")
        rows = [(one.id, _name(registry, one), one.environment, one.promoted_by, awaited(one), _until(one)) for one in found]
    say_table(("PROMOTION", "VERSION", "TO", "ASKED BY", "NEEDS", "UNTIL"), rows)
    return say_next(f"aiinfra approve {found[0].id}{at(server)}")


def _signed(registry: Registry, promotion: UUID, manifest: str, key: str, approver: str | None, *, here: bool) -> bytes:
    from aiinfra_core.cli import approvers  # only who signs needs what signing needs

    found = registry.approvals(promotion)
    if found.promotion.manifest != manifest:
        raise BadInput(f"Promotion {promotion} has the manifest {found.promotion.manifest}; look at it again, nothing was signed.")
    return approvers.signed_approval(key, approver, found, registry.now(), here=here)


def _signed_withdrawal(registry: Registry, promotion: UUID, approval: UUID, key: str, *, here: bool) -> bytes:
    from aiinfra_core.cli import approvers  # as above

    return approvers.signed_withdrawal(key, approval, registry.approvals(promotion), registry.now(), here=here)


def _show(found: SentApprovals, server: str | None, as_json: bool, *, to_agree: bool) -> ExitCode:
    if as_json:
        say_json(found)
        return ExitCode.OK
    promotion, artifact = found.promotion, found.artifact
    say(f"{promotion.model}:{artifact.version} to {promotion.environment}: {promotion.status}")
    decision = promotion.sentinel_decision
    say_fields(
        {
            "asked by": f"{promotion.promoted_by} at {promotion.created_at:%Y-%m-%d %H:%M} UTC",
            "scores": f"{score(promotion.evaluation)} ({promotion.evaluation_kind})" if promotion.evaluation else None,
            "policy": decision.reason if decision else None,
            "traffic": words.terms(found.rollout) if found.rollout and not found.rollout.at_once else None,
            "sent back before": words.sent_back(found.sent_back) if found.sent_back else None,
            "tried before": words.tried(found.tries) if found.tries else None,
            "digest": f"{artifact.digest_kind} {artifact.checksum}",
            "manifest": promotion.manifest,
            "needs": awaited(promotion),
            "missing": ", ".join(found.missing) or None,
            "waits until": _until(promotion),
        }
    )
    _say_approvals(found.approvals)
    if promotion.status == PromotionStatus.PENDING_APPROVAL:
        if to_agree:
            say("Nothing is signed yet.")
        say_next(f"aiinfra approve {promotion.id} --manifest {promotion.manifest}{at(server)}")
    if promotion.status == PromotionStatus.ROLLING_OUT:
        say_next(_rollout(promotion, server))
    return ExitCode.OK


def _say_approvals(found: tuple[SentApproval, ...]) -> None:
    if found:
        rows = [
            (
                f"  {one.approver}",
                one.means,
                ", ".join(one.counts_as or one.roles),
                f"{one.expires_at:%Y-%m-%d %H:%M}",
                one.objection,
                one.id,
            )
            for one in found
        ]
        say_table(("  APPROVED BY", "BY", "AS", "UNTIL", "DOES NOT COUNT", "ID"), rows)


def _say_given(registry: Registry, approval: SentApproval, promotion: SentPromotion, server: str | None) -> None:
    say(f"{approval.approver} agrees, as {', '.join(approval.counts_as or approval.roles)}.")
    facts: dict[str, Any] = {
        "approval": approval.id,
        "statement": approval.attestation,
        "counts until": f"{approval.expires_at:%Y-%m-%d %H:%M} UTC",
    }
    say_fields(facts)
    _say_what_next(registry, promotion, server)


def _say_what_next(registry: Registry, promotion: SentPromotion, server: str | None) -> None:
    name = _name(registry, promotion)
    if promotion.status == PromotionStatus.PENDING_APPROVAL:
        missing = registry.approvals(promotion.id).missing
        say(f"{name} still waits for {promotion.environment}: {', '.join(missing)} until {_until(promotion)}.")
    elif promotion.status == PromotionStatus.APPLIED:
        say(f"{name} is current in {promotion.environment}.")
        say_next(f"aiinfra verify {name}{at(server)}")
    elif promotion.status == PromotionStatus.ROLLING_OUT:
        say(f"{name} earns its traffic step by step in {promotion.environment}.")
        say_next(_rollout(promotion, server))
    else:
        say(f"{name} is {promotion.status} for {promotion.environment}{f': {promotion.reason}' if promotion.reason else '.'}")


def _rollout(promotion: SentPromotion, server: str | None) -> str:
    return f"aiinfra rollout show {promotion.model}@{promotion.environment}{at(server)}"


def _name(registry: Registry, promotion: SentPromotion) -> str:
    return f"{promotion.model}:{registry.artifact(str(promotion.artifact_id)).version}"


def _until(promotion: SentPromotion) -> str | None:
    return f"{promotion.pending_until:%Y-%m-%d %H:%M} UTC" if promotion.pending_until else None
