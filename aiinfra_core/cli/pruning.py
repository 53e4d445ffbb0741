"""`prune`: what nobody may use any more, and, with `--yes`, its bytes removed."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core.cli.output import AsJson, counting, say, say_json, say_next, say_table
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import RequestedBy, checked, person
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.errors import BadInput
from aiinfra_core.pruning import Pruned, Together, finish, plan
from aiinfra_core.pruning import prune as run
from aiinfra_core.settings import Settings

_VERSIONS_STAY = "the bucket keeps older versions by its own rules"


def prune(
    *,
    older_than: Annotated[int, Parameter(help="Keep what was registered in the last so many days.")],
    keep_last: Annotated[int, Parameter(help="Keep the newest so many versions of each model.")],
    rollback_targets: Annotated[int, Parameter(help="Keep the last so many that were current, in each environment.")] = 2,
    model: Annotated[str | None, Parameter(help="Only this model.")] = None,
    reason: Annotated[str | None, Parameter(help="Why, kept in each tombstone; without it, the rule in words.")] = None,
    yes: Annotated[bool, Parameter(negative=(), show_default=False, help="Remove them; without it they are only shown.")] = False,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False, help="Only show them, which is what happens anyway.")] = False,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Remove bytes nobody may use any more."""
    if yes and dry_run:
        raise BadInput("--yes removes and --dry-run does not; say one of them.")
    rule = checked(RetentionRule, older_than_days=older_than, keep_last=keep_last, rollback_targets=rollback_targets)
    pruned_by, settings = person(requested_by), running_parts()
    if not yes:
        return _show(plan(settings, rule, model), as_json)
    finished, done = _prune(settings, rule, model, pruned_by, reason)
    return _tell(finished, done, as_json)


def _prune(settings: Settings, rule: RetentionRule, model: str | None, pruned_by: str, reason: str | None) -> tuple[int, list[Pruned]]:
    with counting("Pruning") as progress:
        finished = finish(settings, progress)
        planned, done = plan(settings, rule, model), list[Pruned]()
        for one in run(settings, rule, planned, pruned_by=pruned_by, reason=reason):
            done.append(one)
            progress("bytes", len(done), len(planned))
    return finished, done


def _show(planned: Sequence[Together], as_json: bool) -> None:
    if as_json:
        return say_json({"dryRun": True, "free": [_as_json(one, None, one.stays) for one in planned]})
    if not planned:
        return say("Nothing can be removed under this rule.")
    say_table(("ARTIFACTS", "BYTES", "AT", "STAYS"), [(_names(one), one.size_bytes, one.uri, one.stays) for one in planned])
    say(f"{sum(one.size_bytes for one in planned if one.stays is None):,} bytes could be removed; nothing was.")
    return say_next("the same with --yes")


def _tell(finished: int, done: Sequence[Pruned], as_json: bool) -> None:
    removed = [one for one in done if one.removed is not None]
    freed = sum(one.together.size_bytes for one in removed)
    if as_json:
        shown = [_as_json(one.together, one.removed.files if one.removed else None, _stays(one)) for one in done]
        return say_json({"dryRun": False, "finishedFiles": finished, "freedBytes": freed, "pruned": shown})
    if done:
        say_table(
            ("ARTIFACTS", "BYTES", "AT", "STAYS"), [(_names(one.together), _size(one), one.together.uri, _stays(one)) for one in done]
        )
    if finished:
        say(f"{finished} files that an interrupted run had left were removed.")
    return say(f"{freed:,} bytes were removed; what is recorded about them stays, with a signed tombstone each.")


def _size(one: Pruned) -> int:
    return one.together.size_bytes if one.removed else 0


def _stays(one: Pruned) -> str | None:
    if one.removed is None:
        return one.stays or "somebody registered it again"
    return _VERSIONS_STAY if one.removed.versions_stay else None


def _names(one: Together) -> str:
    return ", ".join(f"{artifact.model}:{artifact.version}" for artifact in one.artifacts)


def _as_json(one: Together, files: int | None, stays: str | None) -> dict[str, Any]:
    artifacts = [{"id": str(it.id), "model": it.model, "version": it.version} for it in one.artifacts]
    return {"artifacts": artifacts, "uri": one.uri, "sizeBytes": one.size_bytes, "removedFiles": files, "stays": stays}
