"""The `trust` commands. What they change lives in `trusting`, how it is shown in `trust_shown`."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from aiinfra_core.cli import trust_typed as typed
from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.trust_shown import pinned_file, show_standing
from aiinfra_core.cli.trust_typed import Folder, Keys, RootDays, TargetsDays, TargetsKey, Uris
from aiinfra_core.cli.typed import RequestedBy, checked, person
from aiinfra_core.domain.trust import Compromise, Purpose, Trust, TrustedKey
from aiinfra_core.embedded import development_key
from aiinfra_core.embedded.defaults import settings_without_database, trust_folder
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import trust_editing
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.keys import SIGNED_HERE, WITH_VOUCHING, signers_as_keys
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.signing.signer import Signer, default_signer_id
from aiinfra_core.trusting import changing
from aiinfra_core.trusting.changing import ROOT_DAYS, TARGETS_DAYS

_OPERATOR = "operator"
trust = App(name="trust")


@trust.command(
    help_epilogue=examples(
        "aiinfra trust init",
        r"""aiinfra trust init trust --root-key file:alice.key --root-key BASE64_OF_BOB --root-key BASE64_OF_CAROL --threshold 2 \
      --targets-key 'awskms:alias/trust?public-key=BASE64' --owner ml-platform""",
    )
)
def init(
    folder: Folder = None,
    *,
    root_key: Keys = None,
    threshold: Annotated[int, Parameter(help="How many root keys must sign a root.")] = 1,
    targets_key: TargetsKey = None,
    owner: Annotated[str, Parameter(help="Who holds the configured signers' keys.")] = _OPERATOR,
    log: Annotated[str | None, Parameter(help="The log that counts; without it AI_INFRA_LOG_ORIGIN.")] = None,
    root_days: RootDays = ROOT_DAYS,
    targets_days: TargetsDays = TARGETS_DAYS,
    as_json: AsJson = False,
) -> None:
    """Make a trust root that lists the configured signers; without --root-key one for development, in the home.

    A root key is the URI of a signer that is here, or the public key of somebody who signs later with: aiinfra trust sign.
    """
    settings, keys = Settings(), root_key
    vouches = keys is None or settings.vouching_signer_uri is not None  # until now, without a trust root, the configured signers vouched
    if keys is None:
        keys, settings = [_development_root_key(settings, folder)], settings_without_database()
        targets_key = targets_key or keys[0]
    place, found = typed.folder_of(settings, folder), [typed.key_or_signer(settings, text) for text in keys]
    targets = typed.targets_signer(settings, targets_key, place)
    plan = RootPlan(tuple(key for key, _ in found), threshold, targets.public_key)
    listed = signers_as_keys(settings, owner, WITH_VOUCHING if vouches else SIGNED_HERE) if all(settings.signer_uris) else ()
    made = changing.begin(
        place,
        plan,
        checked(Trust, keys=listed, logs=(log or settings.log_origin,)),
        signers=[signer for _, signer in found if signer is not None],
        targets_signer=targets,
        root_days=typed.days("--root-days", root_days),
        targets_days=typed.days("--targets-days", targets_days),
    )
    configure = None if place == trust_folder(settings.home) else f"export AI_INFRA_TRUST_ROOT={pinned_file(made).absolute()}"
    show_standing(made, as_json=as_json, next_command=configure or "aiinfra trust publish")


@trust.command(
    help_epilogue=examples(
        "aiinfra trust add-key 'vault:release?public-key=BASE64' --purpose promotion --environment prod",
        "aiinfra trust add-key alice.pem --purpose approval --owner alice --role security",
    )
)
def add_key(
    key: Annotated[str, Parameter(help="A signer's URI, a public key as base64, or a PEM file of one.")],
    folder: Folder = None,
    *,
    purpose: Annotated[list[Purpose], Parameter(negative=(), help="What it may sign; repeat for several.")],
    owner: Annotated[str | None, Parameter(help="Who holds it: thresholds count owners.")] = None,
    role: Annotated[list[str] | None, Parameter(negative=(), help="What its owner approves as; repeat for several.")] = None,
    environment: Annotated[list[str] | None, Parameter(negative=(), help="Only there; without it everywhere.")] = None,
    signer_id: Annotated[str | None, Parameter(help="The name it signs under.")] = None,
    valid_from: Annotated[str | None, Parameter(help="Not before this time.")] = None,
    valid_until: Annotated[str | None, Parameter(help="Not from this time on.")] = None,
    replace: Annotated[
        bool, Parameter(negative=(), help="Where the key is listed: for these purposes from now on; what else is not said stays.")
    ] = False,
    targets_key: TargetsKey = None,
    days: TargetsDays = TARGETS_DAYS,
    as_json: AsJson = False,
) -> None:
    """List a key: what it may sign, where and when."""
    settings = Settings()
    public, signer = typed.key_or_signer(settings, key)
    said = {
        "signer_id": signer_id,
        "owner": owner,
        "roles": role and tuple(role),
        "environments": environment and tuple(environment),
        "valid_from": typed.moment("--valid-from", valid_from),
        "valid_until": typed.moment("--valid-until", valid_until),
    }

    def entry(known: TrustedKey | None) -> TrustedKey:
        if known is None and owner is None and Purpose.APPROVAL in purpose:
            raise BadInput("Say who approves with this key: --owner NAME.")
        new = {"signer_id": signer.signer_id if signer else default_signer_id(public), "owner": _OPERATOR}
        kept = new if known is None else {name: getattr(known, name) for name in said}
        own = {"keyid": public.keyid, "public_key": public.base64, "purposes": tuple(purpose)}
        return checked(TrustedKey, **own | kept | {name: value for name, value in said.items() if value})

    def edit(it: Trust) -> Trust:
        known = next((one for one in it.keys if replace and one.keyid == public.keyid), None)
        return trust_editing.with_key(it, entry(known), replace=replace)

    if not replace:
        entry(None)  # what was typed wrong is told before anything is looked for
    _change(settings, folder, edit, targets_key, days, as_json=as_json)


@trust.command(
    help_epilogue=examples(
        "aiinfra trust revoke audit --reason 'replaced by audit-2'",
        "aiinfra trust revoke 3f9a1c22 --reason 'laptop stolen' --bad-from-index 41207",
    )
)
def revoke(
    keyid: Annotated[str, Parameter(help="A listed keyid, its first 8 digits or more, or the name it signs under.")],
    folder: Folder = None,
    *,
    reason: Annotated[str, Parameter(help="Why; kept for a compromised key.")],
    bad_from_index: Annotated[int | None, Parameter(help="Others may hold it: nothing counts from this log entry on, from 0.")] = None,
    targets_key: TargetsKey = None,
    days: TargetsDays = TARGETS_DAYS,
    as_json: AsJson = False,
) -> None:
    """End a key: without --bad-from-index it is retired now and what it signed before counts; with it, it is compromised."""
    now = datetime.now(UTC)

    def edit(it: Trust) -> Trust:
        if bad_from_index is None:
            return trust_editing.retired(it, keyid, now)
        return trust_editing.compromised(it, keyid, checked(Compromise, reported_at=now, reason=reason, bad_from_index=bad_from_index))

    _change(Settings(), folder, edit, targets_key, days, as_json=as_json)


@trust.command(
    help_epilogue=examples("aiinfra trust require prod --role security=1 --role ml-lead=1 --since now", "aiinfra trust require staging")
)
def require(
    environment: str,
    folder: Folder = None,
    *,
    role: Annotated[list[str] | None, Parameter(negative=(), metavar="ROLE=N", help="How many owners of a role must approve.")] = None,
    since: Annotated[str | None, Parameter(help="Only for what is applied from this time on, or from now; without it for all.")] = None,
    targets_key: TargetsKey = None,
    days: TargetsDays = TARGETS_DAYS,
    as_json: AsJson = False,
) -> None:
    """Say how many owners of which roles must approve a promotion to an environment; without --role none.

    Exports of what was applied with fewer approvals no longer verify, unless --since says that it was before.
    """
    settings, needed = Settings(), typed.roles("--role", role or ())
    place = environment_named(settings, environment)
    begin = datetime.now(UTC) if since == "now" else typed.moment("--since", since)
    _change(settings, folder, lambda it: trust_editing.with_threshold(it, place, needed, begin), targets_key, days, as_json=as_json)


@trust.command(help_epilogue=examples("aiinfra trust renew", "aiinfra trust renew --days 30"))
def renew(
    folder: Folder = None,
    *,
    log: Annotated[str | None, Parameter(help="A log that counts too from now on.")] = None,
    targets_key: TargetsKey = None,
    days: TargetsDays = TARGETS_DAYS,
    as_json: AsJson = False,
) -> None:
    """Sign targets.json anew, with a later expiry; a root is renewed with: aiinfra trust rotate-root."""
    _change(Settings(), folder, lambda it: trust_editing.with_log(it, log) if log else it, targets_key, days, renew=True, as_json=as_json)


@trust.command(
    help_epilogue=examples(
        "aiinfra trust rotate-root",
        "aiinfra trust rotate-root trust --root-key file:alice.key --add-key BASE64_OF_DAVE --remove-key 3f9a1c22 --threshold 2",
    )
)
def rotate_root(
    folder: Folder = None,
    *,
    root_key: Annotated[Uris, Parameter(help="A root key that is here and signs, old or new; repeat for several.")] = None,
    add_key: Annotated[Keys, Parameter(help="A new root key; given by its URI it signs at once.")] = None,
    remove_key: Annotated[list[str] | None, Parameter(negative=(), help="The keyid of a root key that shall be none.")] = None,
    threshold: Annotated[int | None, Parameter(help="How many root keys must sign from now on.")] = None,
    targets_key: Annotated[str | None, Parameter(metavar="URI|KEY", help="A new targets key.")] = None,
    days: RootDays = ROOT_DAYS,
    replace: Annotated[bool, Parameter(negative=(), help="Begin anew where a root waits for signatures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the next root, with other keys or just a later expiry; it counts once enough old and enough new keys signed it."""
    settings = Settings()
    place = typed.folder_of(settings, folder)
    added = [typed.key_or_signer(settings, text) for text in add_key or ()]
    targets, targets_signer = typed.key_or_signer(settings, targets_key) if targets_key else (None, None)

    def change(plan: RootPlan) -> RootPlan:
        kept = [key for key in plan.keys if not any(len(id_) >= 8 and key.keyid.startswith(id_) for id_ in remove_key or ())]
        if len(plan.keys) - len(kept) != len(remove_key or ()):
            raise BadInput("--remove-key takes the keyid of a root key, or its first 8 digits or more; look with: aiinfra trust show")
        return RootPlan((*kept, *(key for key, _ in added)), threshold or plan.threshold, targets or plan.targets_key)

    at_hand = [*typed.signers(settings, root_key, place), *(signer for _, signer in added if signer is not None)]
    found = changing.rotate_root(place, change, at_hand, targets_signer, days=typed.days("--days", days), replace=replace)
    show_standing(found, as_json=as_json, next_command=f"aiinfra trust publish {place}")


@trust.command(help_epilogue=examples("aiinfra trust sign trust --key file:bob.key"))
def sign(
    folder: Folder = None,
    *,
    key: Annotated[Uris, Parameter(help="A root key that is here; repeat for several.")] = None,
    targets_key: TargetsKey = None,
    as_json: AsJson = False,
) -> None:
    """Add your signature to a root that waits; with enough of them it counts."""
    settings = Settings()
    place = typed.folder_of(settings, folder)
    targets = typed.targets_signer(settings, targets_key, place) if targets_key else None
    found = changing.sign(place, typed.signers(settings, key, place), targets)
    show_standing(found, as_json=as_json, next_command=f"aiinfra trust publish {place}")


@trust.command(help_epilogue=examples("aiinfra trust show", "aiinfra trust show trust --json"))
def show(folder: Folder = None, *, as_json: AsJson = False) -> None:
    """Show whose signatures count, for what, where and until when; what expires soon; which signatures are missing."""
    show_standing(changing.standing(typed.folder_of(Settings(), folder)), as_json=as_json)


@trust.command(help_epilogue=examples("aiinfra trust publish"))
def publish(folder: Folder = None, *, requested_by: RequestedBy = None, as_json: AsJson = False) -> None:
    """Put the trust root into the artifact store and tell of it in the audit log; what is published never goes back."""
    from aiinfra_core.trusting import publishing  # SQL and S3: only here

    settings, who = running_parts(), person(requested_by)
    done = publishing.publish(settings, typed.folder_of(settings, folder), actor=who)
    facts = {"uri": done.uri, "root": done.root_version, "targets": done.targets_version, "event": done.event_type}
    if as_json:
        return say_json({**facts, "first": done.first})
    say("Published." if done.first else "These versions were published before.")
    say_fields(facts)
    return say_next("aiinfra audit verify")


def _development_root_key(settings: Settings, folder: Path | None) -> str:
    if settings.production or folder is not None:
        raise BadInput("Name who holds this trust root: --root-key URI (repeat for several), --threshold N and --targets-key URI.")
    return f"file:{development_key.ensure(settings.home, development_key.ROOT_KEY)}"


def _change(
    settings: Settings,
    folder: Path | None,
    edit: Callable[[Trust], Trust],
    targets_key: str | None,
    days: int,
    *,
    renew: bool = False,
    as_json: bool,
) -> None:
    place = typed.folder_of(settings, folder)
    signer: Signer = typed.targets_signer(settings, targets_key, place)
    found = changing.change(place, edit, signer, days=typed.days("--days", days), renew=renew)
    show_standing(found, as_json=as_json, next_command=f"aiinfra trust publish {place}")
