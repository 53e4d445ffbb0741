"""YAML in, plain values out, strictly: what a policy file says must be what everybody who reads it sees.

Aliases, tags and keys that come twice are refused; only true, false, null and numbers are anything but text, so that no, on and
2026-12-24 stay what was typed. What the values mean is in `policy_file`.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from aiinfra_core.errors import BadInput

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
_WORDS = {"": None, "null": None, "~": None, "true": True, "false": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,15}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_MOST_DIGITS = 32  # longer ones are digests

Place = tuple[str | int, ...]


def read(data: bytes, what: str) -> tuple[Any, dict[Place, int]]:
    """Return the one document of a YAML file and, for each place in it, its line.

    Raises:
        BadInput: it is not YAML, too long, or uses what is refused here; the message names the line.
    """
    if len(data) > MAX_BYTES:
        raise BadInput(f"{what} is longer than {MAX_BYTES} bytes.")
    try:
        text = data.decode()
        _refuse_clever(text, what)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise BadInput(f"{what} is not UTF-8 text.") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise BadInput(f"{what}{f', line {mark.line + 1}' if mark else ''} is not YAML: {problem}.") from None
    lines: dict[Place, int] = {}
    return _value(root, (), lines, what), lines


# Events come one by one: what is refused is refused before anything grows or nests.
def _refuse_clever(text: str, what: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            _refuse(what, line, "anchors and aliases (&, *) are not read here; write it out")
        if getattr(event, "tag", None):
            _refuse(what, line, f"the tag {event.tag} is not read here; leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            _refuse(what, line, f"it is nested deeper than {MAX_DEPTH} levels")


def _value(node: yaml.Node | None, place: Place, lines: dict[Place, int], what: str) -> Any:
    if node is None:
        return None
    line = lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _plain(node.value, line, what)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, number), lines, what) for number, item in enumerate(node.value)]
    fields: dict[str, Any] = {}
    for key, item in _pairs(node):
        if not isinstance(key, yaml.ScalarNode):
            _refuse(what, line, "a name has to be a text")
        if key.value in fields:
            _refuse(what, key.start_mark.line + 1, f"{key.value} comes twice")
        fields[key.value] = _value(item, (*place, key.value), lines, what)
        lines[(*place, key.value)] = key.start_mark.line + 1
    return fields


def _pairs(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    yield from node.value


def _plain(text: str, line: int, what: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    if len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else _refuse(what, line, f"{text} is too large")
    return text


def _refuse(what: str, line: int, why: str) -> NoReturn:
    raise BadInput(f"{what}, line {line}: {why}.")
