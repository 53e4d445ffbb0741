"""Join walked stretches in order: one chain, one tree, the tiles and checkpoints that lie in it, and how far all this came."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from aiinfra_core.audit_log.checking import tree_check
from aiinfra_core.audit_log.checking.state_rows import Connection as Plain
from aiinfra_core.audit_log.checking.stretches import Stretch, tip_at
from aiinfra_core.audit_log.checking.tree import Tree
from aiinfra_core.audit_log.checking.tree_check import StoredTiles
from aiinfra_core.audit_log.checking.verified import Position, Verified
from aiinfra_core.audit_log.checking.walk import Problem
from aiinfra_core.domain.trust import Trust
from aiinfra_core.merkle import HASH_BYTES

LATEST = 16
_ALL = 2**62


class Joining:
    """A log as it is put together from its stretches, from a position on."""

    def __init__(self, tx: Connection, plain: Plain, verified: Verified, position: Position, trust: Trust, outside: str) -> None:
        """Begin at a position; `outside` is where checkpoints are published, for people."""
        self._tx, self._plain, self._verified, self._trust, self._outside = tx, plain, verified, trust, outside
        self.position = position
        self.last = tip_at(plain, _ALL).seq
        self._tiles = StoredTiles(plain, self.last)
        self.checkpoints = 0

    def take(self, stretch: Stretch, *, touching: bool) -> None:
        """Take in the next stretch; all of it is kept before this returns."""
        position, problems, broken = self.position, list(stretch.problems), stretch.broken
        if stretch.begins != position.tip:
            problems.append((f"audit_events seq {stretch.begins.seq}", "does not continue what was verified before it"))
        before, leaves = position.tip.seq, stretch.leaves
        inside = tree_check.inside(self._plain, before, stretch.ends.seq)
        outside = self._verified.outside(before, stretch.ends.seq)
        stops, roots, full = sorted({found.size for found in inside} | {size for size, _ in outside}), {}, []
        for size in stops:
            wanted = (size - position.tree.size) * HASH_BYTES
            if 0 < wanted <= len(leaves):
                full += position.tree.extend(leaves[:wanted])
                leaves, roots[size] = leaves[wanted:], position.tree.root
                if size == stops[-1]:
                    position = replace(position, anchor=tip_at(self._plain, size), anchor_tree=Tree.read(position.tree.written()))
        full += position.tree.extend(leaves)
        problems += [*self._tiles.problems(full), *self._check_checkpoints(inside, outside, roots)]
        self.position = replace(
            position,
            tip=stretch.ends,
            checkpoints=position.checkpoints + len(inside),
            recent=[*position.recent, *(found.size for found in inside)][-LATEST:],
            broken=position.broken + broken + len(problems) - len(stretch.problems),
        )
        self._verified.keep(self.position, stretch.told, problems, touching=touching)

    def end(self) -> None:
        """Check what can only be seen at the end: the last tiles, and checkpoints of a log longer than this one."""
        inside, outside = tree_check.inside(self._plain, self.last, _ALL), self._verified.outside(self.last, _ALL)
        longest = max((found.size for found in inside), default=0), max((size for size, _ in outside), default=0)
        problems = [
            *self._check_end(max(longest)),
            *self._check_checkpoints(inside, outside, {}),
            *self._tiles.problems(list(self.position.tree.unfilled())),
            *self._tiles.problems_at_end(self.last, self.last_checkpoint()),
            *self._check_numbers(len(inside)),
        ]
        self.note(problems)

    def check_earlier(self) -> None:
        """Check the latest checkpoints of what was verified before, which must still lead to the tree that was verified."""
        size, root = self.position.tip.seq, self.position.tree.root
        after = min(self.position.recent, default=1) - 1
        inside, outside = tree_check.inside(self._plain, after, size), self._verified.outside(after, size)
        notes = [(found.size, found.note) for found in inside] + list(outside)
        claims = {(number, tree_check.claimed_root(note)) for number, note in notes}
        proven = {number: claim for number, claim in claims if tree_check.is_earlier(self._tx, number, claim, size, root)}
        self.note(self._check_checkpoints(inside, outside, proven))

    def last_checkpoint(self) -> int:
        """Return the size of the newest checkpoint in the database that the log is long enough for, 0 where there is none."""
        row = self._plain.execute("SELECT coalesce(max(size), 0) FROM audit_checkpoints WHERE size <= %s", [self.last]).fetchone()
        return int(row[0]) if row else 0

    def finish(self) -> None:
        """Keep that everything was compared."""
        self.position = replace(self.position, whole=True)
        self._verified.keep(self.position)
        self._verified.forget_touched()

    def note(self, problems: Sequence[Problem] | Iterator[Problem]) -> None:
        """Keep what is wrong."""
        found = list(problems)
        if found:
            self.position = replace(self.position, broken=self.position.broken + len(found))
            self._verified.keep(self.position, problems=found)

    def _check_checkpoints(
        self, inside: Sequence[tree_check.Inside], outside: Sequence[tuple[int, bytes]], roots: dict[int, bytes]
    ) -> Iterator[Problem]:
        self.checkpoints += len(inside)
        times = tree_check.covered_at(self._plain, [size for size, _ in outside]) if outside else {}
        for found in inside:
            yield from tree_check.check_inside(found, roots.get(found.size), self._trust)
        for size, note in outside:
            yield from tree_check.check_outside(self._outside, size, note, roots.get(size), times.get(size), self._trust)
        here, there = {found.size for found in inside}, {size for size, _ in outside}
        for size in sorted(there - here):
            yield f"audit_checkpoints size {size}", "the checkpoint was published but is not here; see: aiinfra audit checkpoint"
        for size in sorted(here - there):
            yield f"{self._outside}/{size:020d}", "the checkpoint of the database has no copy there"

    def _check_end(self, longest: int) -> Iterator[Problem]:
        if longest > self.last:
            yield f"audit_events seq {self.last}", f"the log ends here, but there is a checkpoint of {longest} events"

    def _check_numbers(self, beyond: int) -> Iterator[Problem]:
        stored = self._plain.execute("SELECT count(*), count(DISTINCT size) FROM audit_checkpoints").fetchone() or (0, 0)
        if stored != (self.position.checkpoints + beyond,) * 2:
            yield (
                "audit_checkpoints",
                f"it has {stored[0]} rows of {stored[1]} sizes where {self.position.checkpoints + beyond} were verified",
            )
        odd = self._plain.execute("SELECT count(*) FROM audit_events WHERE seq IS NULL OR seq < 1").fetchone()
        if odd and odd[0]:
            yield "audit_events", f"{odd[0]} rows stand outside the sequence"
