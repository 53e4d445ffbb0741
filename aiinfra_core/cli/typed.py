"""What was typed, made into the core's words: names and values, people, references, checked records."""

import getpass
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

from cyclopts import Parameter, Token
from pydantic import BaseModel, ValidationError

from aiinfra_core import canonical_json
from aiinfra_core.domain.record import causes, in_words
from aiinfra_core.errors import BadInput
from aiinfra_core.settings import Settings, environment_named

RequestedBy = Annotated[str | None, Parameter(help="Who asks; without it, the user who types.")]
RequestId = Annotated[
    str | None, Parameter(help="A name for this request: under the same name it is done once, under a new one it is done anew.")
]
Reference = Annotated[str, Parameter(help="MODEL, MODEL:VERSION, MODEL@ENVIRONMENT or an artifact's id.")]
Pairs = Annotated[list[str] | None, Parameter(negative=(), metavar="KEY=VALUE")]

_SHA256 = re.compile("[0-9a-f]{64}")
_DATASET = re.compile(r"(?P<name>[^=,#]+)=(?P<uri>.+?)(?:#sha256=(?P<sha256>[^#]*))?|(?P<name_>[^=,]+),(?P<uri_>[^,]+),(?P<sha256_>[^,]+)")
_Checked = TypeVar("_Checked", bound=BaseModel)


def person(given: str | None) -> str:
    """Return who was named, else the user who types.

    Raises:
        BadInput: nobody was named and this user has no name.
    """
    try:
        return given or getpass.getuser()
    except (OSError, KeyError) as error:
        raise BadInput("This user has no name; say who asks with --requested-by.") from error


def digest(option: str, text: str | None, what: str) -> str | None:
    """Return a digest that was typed.

    Raises:
        BadInput: it is none; `what` says whose it must be.
    """
    if text is not None and not _SHA256.fullmatch(text):
        raise BadInput(f"{option} must be the digest of {what}, 64 digits of 0-9 and a-f, not {text[:80]!r}.")
    return text


def promotion_id(_kind: Any, typed: Sequence[Token]) -> UUID:
    """Return a promotion's id that was typed.

    Raises:
        BadInput: it is none.
    """
    try:
        return UUID(typed[0].value)
    except ValueError:
        raise BadInput(f"{typed[0].value[:80]!r} is no promotion's id; those that wait for people are shown by: aiinfra pending") from None


def values(option: str, pairs: Sequence[str] | None, example: str = "depth=3") -> dict[str, Any]:
    """Read `KEY=VALUE` pairs; a value is JSON, or a plain text where it is not.

    Raises:
        BadInput: there is no `=`, a key comes twice, or a value begins like JSON and is none.
    """
    read: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise BadInput(f"{option} takes KEY=VALUE, such as {option} {example}, not {pair!r}.")
        if key in read:
            raise BadInput(f"{option} names {key} twice; give it one value.")
        read[key] = _value(f"The value of {option} {key}", text)
    return read


def checked(kind: type[_Checked], **fields: Any) -> _Checked:
    """Make a record of what was typed.

    Raises:
        BadInput: a field is missing or wrong; the message names it.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        found = causes(error.errors(include_input=False))
        wrong = "; ".join(": ".join(filter(None, (".".join(map(str, one["loc"])).replace("_", "-"), in_words(one)))) for one in found)
        raise BadInput(f"This does not describe {_words(kind.__name__.removeprefix('Asked'))}: {wrong}.") from None


def reference(settings: Settings, text: str) -> str:
    """Return an artifact's reference with its environment spelled as configured; `production` is another word for `prod`.

    Raises:
        NotFound: there is no such environment.
    """
    model, at, environment = text.partition("@")
    return f"{model}@{environment_named(settings, environment)}" if at else text


def _value(what: str, text: str) -> Any:
    try:
        return canonical_json.loads(text, what=what)
    except BadInput:
        if text[:1] in ("{", "[", '"'):
            raise
        return text


def _words(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def json_file(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds a record by its wire names.

    Raises:
        BadInput: it cannot be read, or holds something else.
    """
    try:
        content = canonical_json.loads(file.read_bytes(), what=str(file))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{file} holds no JSON object; write the spec's fields by name, such as codeRef.")
    return content


def dataset(text: str, code_ref: str) -> dict[str, str]:
    """Read a dataset as it was typed; the digest of a file on this machine may be left out.

    Raises:
        BadInput: it is written wrongly, or needs its digest.
    """
    read = _DATASET.fullmatch(text)
    if read is None:
        raise BadInput(f"--dataset takes NAME=URI#sha256=HEX or NAME,URI,HEX, not {text!r}.")
    name, uri = read["name"] or read["name_"], read["uri"] or read["uri_"]
    sha256 = read["sha256"] or read["sha256_"] or _digest_here(name, uri, Path(code_ref.rpartition("@")[0]))
    return {"name": name, "uri": uri, "sha256": sha256}


def _digest_here(name: str, uri: str, code: Path) -> str:
    file = code / uri.removeprefix("file://")
    if not file.is_file():
        raise BadInput(f"Dataset {name} is no file on this machine; say its digest: {name}={uri}#sha256=HEX")
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"Dataset {name} cannot be read: {error.strerror}.") from error
