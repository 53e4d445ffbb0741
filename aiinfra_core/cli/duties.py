"""For `status`: in each environment which policy holds, who has to agree, and which duties are kept apart; and what waits for people."""

from typing import Any

from aiinfra_core.cli.output import say, say_next, say_table
from aiinfra_core.domain.promotion import Part, Promotion
from aiinfra_core.errors import EvidenceBroken, Misconfigured
from aiinfra_core.keys import trust_of
from aiinfra_core.policy import files
from aiinfra_core.settings import Settings

_NO_MODEL_OF_ITS_OWN = ""


def of_environments(settings: Settings) -> list[dict[str, Any]]:
    """Return, for each environment, what holds for models that the policy says nothing special about; `problem` where nobody can tell."""
    return [_of_environment(settings, environment) for environment in settings.environments]


def of_waiting(found: list[tuple[Promotion, int]]) -> list[dict[str, Any]]:
    """Return the promotions that wait for people, each with the version it is about."""
    return [
        {
            **one.model_dump(
                mode="json", by_alias=True, include={"id", "model", "environment", "requested_by", "approvals_required", "pending_until"}
            ),
            "version": version,
        }
        for one, version in found
    ]


def say_duties(rows: list[dict[str, Any]]) -> None:
    """Print them as a table."""
    shown = [(f"  {row['environment']}", *(("?",) * 4 if row["problem"] else _told(row))) for row in rows]
    say_table(("  GATE OF", "POLICY", "HAS TO AGREE", "CANNOT AGREE", "CANNOT ASK"), shown)
    for problem in dict.fromkeys(row["problem"] for row in rows if row["problem"]):
        say(f"Nobody can tell for {', '.join(row['environment'] for row in rows if row['problem'] == problem)}: {problem}")


def _told(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["policy"],
        ", ".join(f"{count} as {role}" for role, count in row["approvals"].items()) or "nobody",
        ", ".join(row["approverIsNot"]),
        ", ".join(row["requesterIsNot"]) or "nobody",
    )


def say_waiting(rows: list[dict[str, Any]]) -> None:
    """Print what waits for people, and what to type."""
    if rows:
        say(f"{len(rows)} promotions wait for people." if len(rows) > 1 else "A promotion waits for people.")
        say_next("aiinfra pending")


def _of_environment(settings: Settings, environment: str) -> dict[str, Any]:
    row: dict[str, Any] = {"environment": environment, "policy": None, "approvals": {}, "problem": None}
    row |= {"approverIsNot": [Part.REQUESTER.value], "requesterIsNot": []}
    try:
        thresholds = trust_of(settings).thresholds.get(environment, {}) if settings.trust_root else {}
        if settings.policy is None and settings.sentinel_url is not None:
            return row | {"policy": "SentinelNet", "approvals": dict(sorted(thresholds.items()))}
        policy = files.load(settings, environment, _NO_MODEL_OF_ITS_OWN)
    except (Misconfigured, EvidenceBroken) as error:
        return row | {"problem": str(error)}
    asked = policy.conditions.approvals
    return row | {
        "policy": f"{policy.name} {policy.version}{' and SentinelNet' if settings.sentinel_url else ''}",
        "approvals": {role: max(asked.get(role, 0), thresholds.get(role, 0)) for role in sorted({*asked, *thresholds})},
        "approverIsNot": [Part.REQUESTER.value, *(part.value for part in policy.conditions.approver_is_not if part is not Part.REQUESTER)],
        "requesterIsNot": [part.value for part in policy.requester_is_not],
    }
