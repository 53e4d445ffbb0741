"""What a finished run left in its run directory: the output, the metrics, and what it should not have touched.

Each function raises `BadInput` with the sentence that tells the training's owner what to change. Running is in `process`; storing is not
in this package.
"""

import math
import os
import stat
from pathlib import Path
from typing import Any

from aiinfra_core import canonical_json, checksums
from aiinfra_core.domain.record import MAX_JSON_BYTES
from aiinfra_core.errors import BadInput

MAX_METRIC_NAME = 128

_FREE_TO_WRITE = ("output", "tmp", "home", "metrics.json")

Snapshot = dict[str, tuple[int, ...]]


def snapshot(folder: Path) -> Snapshot:
    """Return the state of everything in a run directory that a script has no business changing, datasets included."""
    seen: Snapshot = {}
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name not in _FREE_TO_WRITE]
            files = [name for name in files if name not in _FREE_TO_WRITE]
        for name in (*folders, *files):
            path = Path(parent, name)
            seen[path.relative_to(folder).as_posix()] = _state(path, follow=path.parent == folder / "datasets")
    return seen


def check_nothing_else_changed(folder: Path, before: Snapshot) -> None:
    """Compare a run directory with how it was before the training.

    Raises:
        BadInput: something outside the output directory was written, changed or removed.
    """
    after = snapshot(folder)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if changed:
        raise BadInput(f"The script touched {changed[0]!r}, outside its output directory; write only below --output.")


def find_output(folder: Path) -> Path:
    """Return what a training wrote: the one file in its output directory when there is nothing else, or else the directory.

    Raises:
        BadInput: nothing was written, or a link, a special file or a name that cannot be listed.
    """
    output = folder / "output"
    if output.is_symlink() or not output.is_dir():
        raise BadInput("The training replaced its output directory; write files into it instead.")
    sizes = {path: _checked_size(path, output) for path in _files_below(output)}
    if not any(sizes.values()):
        raise BadInput("The training wrote nothing; write the model below --output.")
    only = [*output.iterdir()]
    return only[0] if len(only) == 1 and only[0] in sizes else output


def read_metrics(folder: Path) -> dict[str, float] | None:
    """Return the metrics a training wrote, or None when it wrote none.

    Raises:
        BadInput: they are not one flat JSON object of finite numbers.
    """
    file = folder / "metrics.json"
    if not os.path.lexists(file):
        return None
    if not stat.S_ISREG(file.lstat().st_mode):
        raise BadInput("metrics.json is no ordinary file; write it as one.")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise BadInput(f"metrics.json is larger than {MAX_JSON_BYTES} bytes; keep only the numbers that are judged.")
    metrics = canonical_json.loads(file.read_bytes(), what="metrics.json")
    if not isinstance(metrics, dict):
        raise BadInput("metrics.json is not a JSON object; write names and numbers.")
    return {_metric_name(name): _metric(name, value) for name, value in metrics.items()}


def _metric_name(name: str) -> str:
    if not 0 < len(name) <= MAX_METRIC_NAME or not name.isprintable():
        raise BadInput(f"metrics.json holds a name that is empty, longer than {MAX_METRIC_NAME} letters or not printable; rename it.")
    return name


def _metric(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadInput(f"metrics.json gives {name!r} as {type(value).__name__}; write a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadInput(f"metrics.json gives {name!r} as a number that is not finite; find out why it was produced.")
    return number


def _state(path: Path, *, follow: bool) -> tuple[int, ...]:
    try:
        about = path.stat(follow_symlinks=follow)
    except OSError:
        return ()
    if stat.S_ISDIR(about.st_mode):
        return (about.st_mode,)
    return (about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def _files_below(output: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(output):
        found += [Path(parent, name) for name in files]
        found += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
    return found


def _checked_size(path: Path, output: Path) -> int:
    name = checksums.checked_path(path.relative_to(output).as_posix())
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode):
        raise BadInput(f"The training wrote a symbolic link, {name!r}; write the file itself.")
    if not stat.S_ISREG(about.st_mode):
        raise BadInput(f"The training wrote {name!r}, which is no ordinary file; write ordinary files only.")
    if not os.access(path, os.R_OK):
        raise BadInput(f"The training wrote {name!r} so that nobody can read it; leave it readable.")
    return about.st_size
