"""What the commands print: results on standard output, progress and errors on standard error.

With `--json` a result is one JSON value and nothing else is on standard output. What a result says, the commands decide.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Annotated, Any, TextIO

from cyclopts import Parameter
from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, Parameter(name="--json", negative=(), show_default=False, help="Print one JSON value and nothing else.")]

_WIDTH_OF_A_FILE = 10_000
_SOON_SECONDS = 2.0


def say(text: str) -> None:
    """Print a line of a result for people."""
    sys.stdout.write(f"{printable(text)}\n")


def say_next(command: str) -> None:
    """Print the command to type next."""
    say(f"Next: {command}")


def say_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values below each other; values that are None are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            grid.add_row(f"  {name}", printable(str(value)))
    _print(grid)


def say_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their headings; None becomes empty."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else printable(str(value)) for value in row))
    _print(table)


def say_json(value: Any) -> None:
    """Print a record, or plain values with records in them, as one JSON value with the wire's names."""
    sys.stdout.write(json.dumps(_plain(value), indent=2) + "\n")


def note(text: str) -> None:
    """Print a line beside the result, on standard error."""
    _console(sys.stderr).print(printable(text), soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show that something takes its time, where nobody watches only after two seconds; give a function that prints a line about it."""
    console = _console(sys.stderr)
    if not console.is_terminal:
        late = Timer(_SOON_SECONDS, note, [f"{what} …"])
        late.start()
        try:
            yield note
        finally:
            late.cancel()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(printable(what), total=None)
        yield lambda line: progress.console.print(printable(line), soft_wrap=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far something has come; give a function that is told what is counted, how many of it are done and of how many."""
    console = _console(sys.stderr)
    if not console.is_terminal:
        with working(what):
            yield lambda _counted, _done, _of: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def count(counted: str, done: int, of: int) -> None:
            if counted not in tasks:
                tasks[counted] = progress.add_task(printable(f"{what}: {counted}"), total=of)
            progress.update(tasks[counted], completed=done, total=of)

        yield count


class _Rate(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def printable(text: str) -> str:
    """Return a text without anything that would steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def score(metrics: Mapping[str, Any] | None) -> str | None:
    """Return metrics in one line."""
    return (
        ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in (metrics or {}).items())
        or None
    )


def _print(content: Table) -> None:
    console = _console(sys.stdout)
    with console.capture() as captured:
        console.print(content)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else _WIDTH_OF_A_FILE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
