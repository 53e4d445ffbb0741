"""How a trust root is shown: as a table for people, as one value for scripts."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiinfra_core.cli.output import note, say, say_fields, say_json, say_next, say_table
from aiinfra_core.domain.actor import same_person_key
from aiinfra_core.domain.trust import Trust, TrustedKey
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.evidence.trust_root import TrustRoot
from aiinfra_core.trusting.changing import Standing, Waiting

_SOON = timedelta(days=14)
_SHORT = 16


def show_standing(found: Standing, *, as_json: bool, next_command: str | None = None) -> None:
    """Print what a trust directory holds, warnings beside it, and the next command."""
    now = datetime.now(UTC)
    warnings = list(_warnings(found, now))
    if as_json:
        say_json(_facts(found, now) | {"warnings": warnings})
    else:
        _say(found, now)
    for warning in warnings:
        note(f"aiinfra: {warning}")
    if not as_json and (step := _next(found) or next_command):
        say_next(step)


def pinned_file(found: Standing) -> Path:
    """Return the first root of a trust directory, which people pin."""
    return min(found.folder.glob("*.root.json"), key=lambda path: int(path.name.partition(".")[0]), default=found.folder / "1.root.json")


def _say(found: Standing, now: datetime) -> None:
    opened, plan = found.opened, found.plan
    if opened is not None and plan is not None:
        pinned = pinned_file(found)
        say_fields(
            {
                "directory": found.folder,
                "root": f"version {opened.root_version}, {_expiry(opened.root_expires)}, {plan.threshold} of {len(plan.keys)} keys sign",
                "root keys": " ".join(key.keyid[:_SHORT] for key in plan.keys),
                "targets": f"version {opened.targets_version}, {_expiry(opened.targets_expires)}, key {plan.targets_key.keyid[:_SHORT]}",
                "logs": " ".join(opened.trust.logs),
                "to pin": f"{pinned.name}, SHA-256 {hashlib.sha256(pinned.read_bytes()).hexdigest()}",
                **{f"approvals for {name}": _threshold(opened.trust, name) for name in opened.trust.thresholds},
            }
        )
        columns = ("  KEY", "NAME", "OWNER", "ROLES", "PURPOSES", "ENVIRONMENTS", "VALID", "STATE")
        say_table(columns, [_row(key, now) for key in opened.trust.keys])
    if found.waiting is not None:
        _say_waiting(found.waiting)


def _say_waiting(waiting: Waiting) -> None:
    say(f"Root {waiting.version} waits and does not count yet:")
    for lack in waiting.lacking:
        unsigned = " ".join(keyid[:_SHORT] for keyid in lack.can_sign)
        say(f"  {lack.signatures} more of root {lack.version}'s keys must sign it, of {unsigned}")
    if waiting.targets_key:
        say(f"  its targets key {waiting.targets_key[:_SHORT]} must sign targets.json: --targets-key URI")


def _row(key: TrustedKey, now: datetime) -> tuple[Any, ...]:
    valid = " to ".join(f"{moment:%Y-%m-%d %H:%M}" if moment else "…" for moment in (key.valid_from, key.valid_until))
    return (
        f"  {key.keyid[:_SHORT]}",
        key.signer_id,
        key.owner,
        " ".join(key.roles),
        " ".join(key.purposes),
        "all" if key.environments is None else " ".join(key.environments),
        "always" if key.valid_from is None and key.valid_until is None else valid,
        _state(key, now),
    )


def _state(key: TrustedKey, now: datetime) -> str:
    if key.compromise is not None:
        return f"compromised from entry {key.compromise.bad_from_index}: {key.compromise.reason}"
    if key.valid_until is not None and key.valid_until <= now:
        return "retired"
    return "not yet valid" if key.valid_from is not None and now < key.valid_from else "valid"


def _facts(found: Standing, now: datetime) -> dict[str, Any]:
    opened, plan, waiting = found.opened, found.plan, found.waiting
    return {
        "directory": str(found.folder),
        "root": opened and plan and _root_facts(found, opened),
        "targets": opened and {"version": opened.targets_version, "expires": timestamp(opened.targets_expires)},
        "trust": opened and opened.trust,
        "states": {key.keyid: _state(key, now) for key in opened.trust.keys} if opened else {},
        "waiting": waiting
        and {
            "version": waiting.version,
            "lacking": [{"root": lack.version, "signatures": lack.signatures, "canSign": list(lack.can_sign)} for lack in waiting.lacking],
            "targetsKey": waiting.targets_key,
        },
    }


def _root_facts(found: Standing, opened: TrustRoot) -> dict[str, Any]:
    assert found.plan is not None  # noqa: S101 - a root that counts has one
    pinned = pinned_file(found)
    return {
        "version": opened.root_version,
        "expires": timestamp(opened.root_expires),
        "threshold": found.plan.threshold,
        "keys": [key.keyid for key in found.plan.keys],
        "targetsKey": found.plan.targets_key.keyid,
        "pinned": str(pinned),
        "pinnedSha256": hashlib.sha256(pinned.read_bytes()).hexdigest(),
    }


def _warnings(found: Standing, now: datetime) -> Iterator[str]:
    opened = found.opened
    if opened is None:
        return
    for what, expires, command in (
        ("The root", opened.root_expires, "rotate-root"),
        ("targets.json", opened.targets_expires, "renew"),
    ):
        if expires - now < _SOON:
            verb = "expired" if expires <= now else "expires"
            yield f"{what} {verb} on {expires:%Y-%m-%d %H:%M} UTC; renew it with: aiinfra trust {command} {found.folder}"
    yield from _unreachable(opened.trust, now)


def _unreachable(trust: Trust, now: datetime) -> Iterator[str]:
    for environment, needed in trust.thresholds.items():
        if any(_can(key, "vouching", environment, now) for key in trust.keys):
            continue  # who has a role is for an identity provider to say
        for role, number in needed.items():
            owners = {same_person_key(key.owner) for key in trust.keys if role in key.roles and _can(key, "approval", environment, now)}
            if len(owners) < number:
                yield f"{environment} asks for {number} of the role {role}, but {len(owners)} can approve; list more: aiinfra trust add-key"


def _can(key: TrustedKey, purpose: str, environment: str, now: datetime) -> bool:
    here = key.environments is None or environment in key.environments
    return here and purpose in key.purposes and _state(key, now) == "valid"


def _next(found: Standing) -> str | None:
    if found.waiting is None:
        return None
    return f"aiinfra trust sign {found.folder} --key URI" + (" --targets-key URI" if found.waiting.targets_key else "")


def _expiry(moment: datetime) -> str:
    return f"expires {moment:%Y-%m-%d}"


def _threshold(trust: Trust, environment: str) -> str:
    since = (trust.thresholds_since or {}).get(environment)
    needed = ", ".join(f"{number} {role}" for role, number in trust.thresholds[environment].items())
    return needed if since is None else f"{needed}, for what is applied from {timestamp(since)} on"
