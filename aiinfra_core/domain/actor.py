"""Who asks: the names that may stand in what is recorded and signed."""

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
