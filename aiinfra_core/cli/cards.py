"""`card show` and `card write`: what people say about a model, or about a version of it."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from aiinfra_core import cards, database
from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import RequestedBy, checked, person, reference
from aiinfra_core.domain.card import MAX_CARD_BYTES, Card, CardText
from aiinfra_core.errors import BadInput
from aiinfra_core.registry import artifacts
from aiinfra_core.registry import cards as recorded
from aiinfra_core.settings import Settings
from aiinfra_core.wire.records import sent_card

card = App(name="card")

About = Annotated[str, Parameter(help="MODEL, or MODEL:VERSION.")]
Shown = Annotated[str, Parameter(help="MODEL, MODEL:VERSION or MODEL@ENVIRONMENT.")]
_MOST_VERSION = 2**31 - 1


@card.command(help_epilogue=examples("aiinfra card show rain", "aiinfra card show rain:3 --json"))
def show(about: Shown, /, *, as_json: AsJson = False) -> None:
    """Show the newest card; the Markdown is printed as it was written."""
    in_environment = "@" in about
    model, version = (about, None) if in_environment else _about(about)
    settings = running_parts()
    with database.transaction(settings) as tx:
        artifact = artifacts.find(tx, reference(settings, about))  # what is not registered has no card either
    if in_environment:
        model, version = artifact.model, artifact.version
    found = cards.card_of(settings, model, version)
    if as_json:
        return say_json(sent_card(found))
    say(model if version is None else f"{model}:{version}")
    say_fields(
        {
            "description": found.description or None,
            "tags": ", ".join(f"{tag}={value}" if value else tag for tag, value in found.tags.items()) or None,
            "written": f"{found.created_at:%Y-%m-%d %H:%M:%S} UTC by {found.written_by}, revision {found.revision}",
        }
    )
    if found.card:
        say("")
        say(found.card.rstrip("\n"))
    return None


@card.command(help_epilogue=examples('aiinfra card write rain --description "Millimetres of rain" --tag team=weather --file card.md'))
def write(
    about: About,
    /,
    *,
    description: Annotated[str | None, Parameter(help="What it is, in a few words.")] = None,
    tag: Annotated[list[str] | None, Parameter(negative=(), metavar="KEY[=VALUE]", help="Set a tag; the others stay.")] = None,
    untag: Annotated[list[str] | None, Parameter(negative=(), metavar="KEY", help="Take a tag away.")] = None,
    file: Annotated[Path | None, Parameter(help="The model card, a file of Markdown.")] = None,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Write a card; what is not given stays as it is, and every card before it is kept."""
    model, version = _about(about)
    given = (description, tag, untag, file)
    if all(one is None for one in given):
        raise BadInput("Say what to write: --description, --tag, --untag or --file.")
    text, written_by, settings = None if file is None else _read(file), person(requested_by), running_parts()
    before = _before(settings, model, version)
    tags = {**(before.tags if before else {}), **dict(_tag(one) for one in tag or ())}
    for name in untag or ():
        tags.pop(name, None)
    new = checked(
        CardText,
        description=description if description is not None else before.description if before else "",
        tags=tags,
        card=text if text is not None else before.card if before else "",
    )
    seen = before.revision if before else 0
    kept = cards.write_card(settings, new, model=model, version=version, written_by=written_by, seen=seen)
    if as_json:
        return say_json(sent_card(kept))
    say(f"The card of {about} is at revision {kept.revision}")
    return say_next(f"aiinfra card show {about}")


def _before(settings: Settings, model: str, version: int | None) -> Card | None:
    with database.autocommit(settings) as connection:
        return recorded.newest(connection, model, version)


def _about(text: str) -> tuple[str, int | None]:
    model, colon, version = text.partition(":")
    if colon and not (version.isascii() and version.isdecimal() and len(version) < 11 and 0 < int(version) <= _MOST_VERSION):
        raise BadInput(f"A card is about MODEL or MODEL:VERSION, not {text!r}.")
    return model, int(version) if colon else None


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CARD_BYTES + 1)
        return data.decode()
    except OSError as error:
        raise BadInput(f"The card {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        if len(data) > MAX_CARD_BYTES:
            raise BadInput(f"The card {file} is larger than {MAX_CARD_BYTES} bytes.") from None
        raise BadInput(f"The card {file} is not UTF-8 text.") from None
