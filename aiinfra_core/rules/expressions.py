"""CEL as policies use it: expressions in, what each of them says out; anything but exactly True is no yes.

Uses the standard library and the CEL extension only: it runs in the worker process too, which has nothing else. Rules, reasons and
stages are in `judging`; the process that may be killed is in `sandbox` and `worker`.
"""

import importlib.machinery
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal

Verdict = Literal["yes", "no", "error"]
YES: Verdict = "yes"
NO: Verdict = "no"
ERROR: Verdict = "error"
MISSING = "something it names is missing"
UNFIT = "its values do not fit together"
NO_ANSWER = "its result is neither true nor false"
NOT_FINITE = "its inputs hold a number that is not finite"
TYPES = frozenset(("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"))
Told = tuple[Verdict, str]
"""A verdict and, for an error, its cause."""


def judge(expressions: Sequence[str], inputs: Mapping[str, Any], begins: Callable[[], None] = lambda: None) -> list[Told]:
    """Return what each expression says about plain JSON values; `begins` is called before each."""
    context = _cel().Context()
    for name, value in inputs.items():
        context.add_variable(name, value)
    told = []
    for expression in expressions:
        begins()
        told.append(_told(expression, context))
    return told


def why_not_readable(expression: str) -> str | None:
    """Return in one line why an expression is not CEL, None where it is."""
    try:
        _program(expression)
    except ValueError as error:
        return " ".join(str(error).partition("ERROR: <input>:")[2].partition("\n")[0].split()) or "it cannot be parsed"
    return None


def variables(expression: str) -> list[str]:
    """Return every name an expression uses as a variable, with those it binds itself."""
    return [str(name) for name in _program(expression).variables()]


def _told(expression: str, context: Any) -> Told:
    try:
        result = _program(expression).execute(context)
    except (KeyError, IndexError):
        return ERROR, MISSING
    except TypeError:
        return ERROR, UNFIT
    except Exception as error:  # noqa: BLE001 - whatever went wrong, it is no yes
        return ERROR, MISSING if str(error).startswith("Undefined variable") else f"it fails with {type(error).__name__}"
    if result is True:
        return YES, ""
    return (NO, "") if result is False else (ERROR, NO_ANSWER)


@lru_cache(maxsize=2000)
def _program(expression: str) -> Any:
    return _cel().compile(expression)


# The package's own __init__ imports a command line, a third of a second of it.
@cache
def _cel() -> Any:
    package = importlib.util.find_spec("cel")
    found = importlib.machinery.PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package else None
    if found is None or found.loader is None:
        raise ImportError("common-expression-language is not installed")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
