"""Where a verification begins: at the first event, where an interrupted one stood, or at the last checkpoint that was verified.

What was verified before is also a witness: a log that no longer has the event it ended with was rewritten or cut since.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from aiinfra_core.audit_log.checking.state_rows import Connection
from aiinfra_core.audit_log.checking.stretches import walk_stretch
from aiinfra_core.audit_log.checking.tree import Tree
from aiinfra_core.audit_log.checking.verified import Position, Verified
from aiinfra_core.audit_log.checking.walk import AuditKey, Problem


@dataclass(frozen=True)
class Beginning:
    """The position to begin at, whether only what is new since is looked at, and what has to be said about it."""

    position: Position
    incremental: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def published_after(self) -> int:
        """After which size the published checkpoints are needed."""
        if self.incremental:
            return min(self.position.recent, default=1) - 1
        return self.position.tip.seq


def begin(
    connection: Connection, verified: Verified, keys: Mapping[str, list[AuditKey]], trust: str, *, incremental: bool, restart: bool
) -> Beginning:
    """Decide where to begin; `trust` is the digest of whose signatures count. What cannot be gone on with is forgotten."""
    first = connection.execute("SELECT hash FROM audit_events ORDER BY seq LIMIT 1").fetchone()
    fresh, known = Position(log=str(first[0]) if first else "", trust=trust), verified.position()
    if known is None or restart:
        return _anew(verified, fresh, *(["Nothing was verified before, so the whole log is."] if incremental else []))
    if known.log not in ("", fresh.log) or known.trust != trust:
        same = known.log == fresh.log
        what = "by other keys" if same else "of another log, or its first event was changed since"
        rewritten = tuple(_rewritten(connection, keys, known)) if same else ()
        return replace(_anew(verified, fresh, f"What was verified before was {what}; the whole log is verified anew."), problems=rewritten)
    problems = tuple(_rewritten(connection, keys, known))
    if problems or (known.whole and not incremental):
        return replace(_anew(verified, fresh), problems=problems)
    if known.whole and not known.anchor.seq:
        return _anew(verified, fresh, "There was no checkpoint when the log was last verified, so the whole log is.")
    if known.whole:
        known = replace(known, tip=known.anchor, tree=Tree.read(known.anchor_tree.written()))
        return Beginning(replace(known, log=fresh.log), incremental=True)
    return Beginning(known, notes=(f"Going on after event {known.tip.seq}, where the last verification was interrupted.",))


def _anew(verified: Verified, fresh: Position, *notes: str) -> Beginning:
    verified.start_anew()
    return Beginning(fresh, notes=notes)


def _rewritten(connection: Connection, keys: Mapping[str, list[AuditKey]], known: Position) -> Iterator[Problem]:
    if known.tip.seq:
        again = walk_stretch(connection, keys, known.tip.seq - 1, known.tip.seq)
        if again.ends != known.tip or not known.tree.ends_with(again.leaves):
            yield f"audit_events seq {known.tip.seq}", "is not there as it was verified before: the log was rewritten or cut since"
