"""Why a training gave other bytes: what was seen in them first, then what the code mentions that would explain it.

Each cause is `{kind, certainty, says, code}`; `certainty` is `seen` where the bytes or the environments show it, else `possible`.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiinfra_core.reproducing import comparing, showing
from aiinfra_core.reproducing.comparing import Pair

_SEARCHED_BYTES = 16 * 2**20
_MOST_OFFSETS = 512
_SLACK = timedelta(seconds=2)
_CLOSE = 1e-6
_DATE_TIME = re.compile(rb"(?<![\d.])(\d{4})-?(\d\d)-?(\d\d)[T _]?(\d\d)[:-]?(\d\d)(?:[:-]?(\d\d)(?:[.,]\d+)?)?")
_CTIME = re.compile(rb"(\w{3}) (\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d)(?: UTC)? (\d{4})")
_DATE = re.compile(rb"\d{4}-\d\d-\d\d")
_EPOCH = re.compile(rb"(?<![\d.])\d{10}(?:\d{3}|\d{6}|\d{9})?(?!\d)(?:\.\d+)?")
_TOKEN = re.compile(r"[^\s,;:\[\]{}()]+")
_BINARY = (
    *((form, 8, scale) for form in ("<d", ">d", "<q", ">q") for scale in (1, 1e3, 1e6, 1e9)),
    ("<I", 4, 1),
    (">I", 4, 1),
)


@dataclass(frozen=True)
class Window:
    """When a training ran."""

    start: datetime
    end: datetime

    def holds(self, seconds: float) -> bool:
        """Say whether a moment, in seconds since 1970, is within it, with two seconds of slack."""
        return (self.start - _SLACK).timestamp() <= seconds <= (self.end + _SLACK).timestamp()


@dataclass(frozen=True)
class Looked:
    """What there is to look at.

    `repeats` says whether a second run here gave the same bytes as the first, None where there was none. `places` are the directories the
    run used and `machine` the machine's name, as they would appear in bytes; `environment` is how the environment changed, None where
    nothing is known of the first one.
    """

    pairs: Sequence[Pair]
    trained: Window
    reproduced: Window
    places: Sequence[str] = ()
    machine: str = ""
    environment: Sequence[str] | None = ()
    repeats: bool | None = None
    mentions: Mapping[str, Sequence[str]] = field(default_factory=dict)


def likely(looked: Looked) -> list[dict[str, Any]]:
    """Return the likely causes, those that were seen first; where nothing shows any, one of the kind `unknown`."""
    found = [*_seen(looked)]
    kinds = {cause["kind"] for cause in found}
    found += [cause for cause in _possible(looked, kinds) if cause["kind"] not in kinds]
    if found:
        return found
    said = "A second run here gave the same bytes" if looked.repeats else "A second run here gave other bytes again"
    says = f"{said}, and neither the bytes nor the code show why; look for what the training reads that its provenance does not name."
    return [_cause("unknown", "possible", says)]


def of_environment(changes: Sequence[str] | None, unpinned: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the cause that changes of the environment are, if there are any; None are changes nobody knows of."""
    if changes is None:
        says = "Which packages it was trained with is not recorded; others may have made other bytes."
        return [_cause("packages", "possible", says, unpinned)]
    if not changes:
        return []
    shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
    return [_cause("packages", "seen", f"The environment is not the recorded one ({shown}); pin it, and train in the same.", unpinned)]


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how one environment lock differs from another, a line each: interpreter, platform, packages."""
    lines = [
        f"{name}: {recorded.get(name)} -> {now.get(name)}"
        for name in ("implementation", "interpreter", "platform")
        if recorded.get(name) != now.get(name)
    ]
    before, after = (dict(one.split("==", 1) for one in lock.get("packages", ()) if "==" in one) for lock in (recorded, now))
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return lines + [f"{name}: {before.get(name, 'not installed')} -> {after.get(name, 'not installed')}" for name in changed]


def _seen(looked: Looked) -> Iterator[dict[str, Any]]:
    code, timed = looked.mentions, False
    for says in _first(_times(pair, looked) for pair in looked.pairs):
        timed = True
        yield _cause("time", "seen", says, code.get("time"))
    for says in _first(_own_names(pair, looked.places) for pair in looked.pairs):
        yield _cause("path", "seen", f"{says} the path of the directory the training ran in; write relative paths.", code.get("path"))
    for says in _first(_own_names(pair, [looked.machine]) for pair in looked.pairs if len(looked.machine) > 3):
        yield _cause("machine", "seen", f"{says} the name of this machine; leave it out.", code.get("machine"))
    for name in _first(_reordered(pair) for pair in looked.pairs):
        yield from _orders(name, code)
    for says in _first(_rounded(pair) for pair in looked.pairs if not timed):  # two times are close to each other, too
        yield _cause("threads", "seen", says, code.get("threads"))
    yield from of_environment(looked.environment, code.get("packages"))


def _possible(looked: Looked, seen: set[str]) -> Iterator[dict[str, Any]]:
    if looked.repeats is not False:
        also = {"network": "fetches", "machine": "asks about the machine", "threads": "asks for threads"} if looked.repeats else {}
        for kind, does in also.items():
            if kind in looked.mentions:
                yield _cause(kind, "possible", f"The code {does}; two places may answer differently.", looked.mentions[kind])
        return
    explained = seen & {"time", "hash_seed", "listing", "threads", "order"}
    says = {
        "time": "The code reads the clock; take times from SOURCE_DATE_EPOCH, or leave them out.",
        "randomness": "The code uses chance that no seed was given to; begin it with the seed of inputs.json.",
        "threads": "The code works in threads or processes, whose order is nobody's; combine what they give in a fixed order.",
        "listing": "The code lists a directory, in no order; sort it.",
        "child": "The code starts other programs, which may not have the fixed environment (PYTHONHASHSEED) that it has.",
        "network": "The code fetches something that is no dataset of the training; name it as one.",
    }
    for kind, text in says.items():
        if kind in looked.mentions and not explained:
            yield _cause(kind, "possible", f"Run twice here, it gave other bytes each time. {text}", looked.mentions[kind])


def _orders(name: str, code: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    says = f"{name} holds the same values in another order"
    fixed = "PYTHONHASHSEED, fixed for the training but not for the programs it starts, and for some on addresses"
    known = {
        "hash_seed": (f"{says}: the order of a set depends on {fixed}; sort it.", ("hash_seed", "child")),
        "listing": (f"{says}: a directory is listed in no order; sort it.", ("listing",)),
        "threads": (f"{says}: threads and processes end in no order; combine what they give in a fixed one.", ("threads",)),
    }
    mentioned = {kind: [line for one in kinds for line in code.get(one, ())] for kind, (_, kinds) in known.items()}
    likely = [kind for kind, lines in mentioned.items() if lines]
    for kind in likely:
        yield _cause(kind, "seen" if len(likely) == 1 else "possible", known[kind][0], mentioned[kind])
    if not likely:
        yield _cause("order", "seen", f"{says}; look for a set, a directory listing or threads, and sort what they give.")


def _times(pair: Pair, looked: Looked) -> str | None:
    if pair.registered is None or pair.reproduced is None:
        return None
    before, after = showing.members(pair.registered), showing.members(pair.reproduced)
    if moved := sorted(name for name in before.keys() & after.keys() if before[name][2] != after[name][2]):
        return f"{pair.name} is a zip file whose members carry the time they were written, first {moved[0]}; give them a fixed one."
    with pair.registered.open("rb") as one, pair.reproduced.open("rb") as other:
        old, new = one.read(_SEARCHED_BYTES), other.read(_SEARCHED_BYTES)
    told = {text for text, at in _moments(new) if looked.reproduced.holds(at)} - {text for text, _ in _moments(old)}
    days = {f"{at:%Y-%m-%d}".encode() for at in (looked.reproduced.start, looked.reproduced.end)}
    told = told or (days & set(_DATE.findall(new))) - set(_DATE.findall(old))
    if told:
        return f"{pair.name} holds {min(told).decode(errors='replace')!r}, a time of this run; take times from SOURCE_DATE_EPOCH."
    at = next((at for at in _offsets(old, new) if _is_time(old, new, at, looked)), None)
    return None if at is None else f"{pair.name} holds a time of its run at byte {at}; take times from SOURCE_DATE_EPOCH."


def _moments(data: bytes) -> Iterator[tuple[bytes, float]]:
    for match in _DATE_TIME.finditer(data):
        try:
            yield match[0], datetime(*map(int, match.groups(default=b"0")), tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]
        except ValueError:
            continue
    for match in _CTIME.finditer(data):
        try:
            text = b" ".join((match[2], match[3], match[5], match[4])).decode()
            yield match[0], datetime.strptime(text, "%b %d %Y %H:%M:%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    for match in _EPOCH.finditer(data):
        yield match[0], float(match[0][:10])


def _offsets(old: bytes, new: bytes) -> Iterator[int]:
    marks, count, at = comparing.unequal(old, new), 0, -1
    while count < _MOST_OFFSETS:
        rest = re.compile(rb"[^\0]").search(marks, at + 1)
        if rest is None:
            return
        at, count = rest.start(), count + 1
        yield at


def _is_time(old: bytes, new: bytes, at: int, looked: Looked) -> bool:
    """Say whether some number over this byte is a time of the one run here and a time of the other there."""
    for form, size, scale in _BINARY:
        for start in range(max(0, at - size + 1), at + 1):
            if start + size > min(len(old), len(new)):
                break
            (before,), (after,) = struct.unpack_from(form, old, start), struct.unpack_from(form, new, start)
            if looked.trained.holds(before / scale) and looked.reproduced.holds(after / scale):
                return True
    return False


def _own_names(pair: Pair, names: Sequence[str]) -> str | None:
    if pair.reproduced is None:
        return None
    with pair.reproduced.open("rb") as file:
        data = file.read(_SEARCHED_BYTES)
    return f"{pair.name} holds" if any(name and name.encode() in data for name in names) else None


def _reordered(pair: Pair) -> str | None:
    before, after = _tokens(pair)
    return pair.name if before != after and sorted(before) == sorted(after) else None


def _rounded(pair: Pair) -> str | None:
    before, after = _tokens(pair)
    if len(before) != len(after):
        return None
    apart = [_apart(one, other) for one, other in zip(before, after, strict=True) if one != other]
    if not apart or any(one is None or one > _CLOSE for one in apart):
        return None
    return (
        f"{pair.name} differs in {len(apart)} numbers, by {max(one or 0.0 for one in apart):.1e} of each at most: sums were taken in "
        "another order, by threads or another processor; use one thread, on the same kind of machine."
    )


def _tokens(pair: Pair) -> tuple[list[str], list[str]]:
    if pair.registered is None or pair.reproduced is None:
        return [], []
    before, after = showing.text_of(pair.registered), showing.text_of(pair.reproduced)
    if before is None or after is None:
        return [], []
    return _TOKEN.findall(before), _TOKEN.findall(after)


def _apart(one: str, other: str) -> float | None:
    try:
        before, after = float(one), float(other)
    except ValueError:
        return None
    return abs(before - after) / max(abs(before), abs(after)) if before != after else 0.0


def _first(found: Iterator[str | None]) -> Iterator[str]:
    """Yield the first thing that was found, if any was."""
    first = next((one for one in found if one is not None), None)
    if first is not None:
        yield first


def _cause(kind: str, certainty: str, says: str, code: Sequence[str] | None = None) -> dict[str, Any]:
    return {"kind": kind, "certainty": certainty, "says": says, "code": list(code or ())}
