"""Who asks: the names that may stand in what is recorded and signed, and when two of them are one person."""

from pydantic import TypeAdapter, ValidationError

from aiinfra_core.domain.record import Actor
from aiinfra_core.errors import BadInput

_ACTOR = TypeAdapter(Actor)


def checked_actor(name: str) -> str:
    """Return a name that may stand for whoever asks.

    Raises:
        BadInput: it may not.
    """
    try:
        return _ACTOR.validate_python(name)
    except ValidationError:
        raise BadInput(f"{name[:100]!r} cannot be recorded as who asks; use at most 256 printable ASCII letters without spaces.") from None


def same_person_key(name: str) -> str:
    """Return what two names have in common if they are one person's: capitals do not make another person."""
    return name.casefold()
