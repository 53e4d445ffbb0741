"""What is typed at the `trust` commands, made into keys, signers, directories and times."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aiinfra_core.embedded import development_key
from aiinfra_core.embedded.defaults import trust_folder
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.keys import signer_at
from aiinfra_core.settings import Settings
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer
from aiinfra_core.trusting.changing import ROOT_DAYS, TARGETS_DAYS

Folder = Annotated[
    Path | None, Parameter(name="--dir", help="The trust directory; without it that of AI_INFRA_TRUST_ROOT, or the home's own.")
]
TargetsKey = Annotated[str | None, Parameter(help="URI of the signer that signs targets.json; the home's own needs none.")]
Keys = Annotated[list[str] | None, Parameter(negative=(), metavar="URI|KEY")]
Uris = Annotated[list[str] | None, Parameter(negative=(), metavar="URI")]
RootDays = Annotated[int, Parameter(help=f"How many days the root counts (default {ROOT_DAYS}).", show_default=False)]
TargetsDays = Annotated[int, Parameter(help=f"How many days targets.json counts (default {TARGETS_DAYS}).", show_default=False)]
_MOST_DAYS = 3650


def folder_of(settings: Settings, given: Path | None) -> Path:
    """Return the trust directory that was named or configured, or in development the home's own.

    Raises:
        Misconfigured: production, and none is named.
    """
    if given is not None:
        return given
    if settings.trust_root is not None:
        return settings.trust_root.parent
    if settings.production:
        raise Misconfigured("No trust directory is named; give --dir DIR, or set AI_INFRA_TRUST_ROOT.")
    return trust_folder(settings.home)


def key_or_signer(settings: Settings, text: str) -> tuple[PublicKey, Signer | None]:
    """Read a signer's URI, or the public key (base64, or a PEM file) of somebody who signs elsewhere.

    Raises:
        BadInput: it is neither.
        Misconfigured: the signer cannot be loaded.
    """
    if ":" in text:
        signer = signer_at(settings, text)
        return signer.public_key, signer
    try:
        file = Path(text)
        return public_key.parse(file.read_text() if file.is_file() else text), None
    except (BadInput, OSError, ValueError):
        raise BadInput(f"{text[:100]!r} is no key: give a signer's URI, a public key as base64, or a PEM file of one.") from None


def signers(settings: Settings, uris: Sequence[str] | None, folder: Path) -> list[Signer]:
    """Return the signers of these URIs; without any, the home's own root key where this is the home's own trust root."""
    return [signer_at(settings, uri) for uri in uris or _own_key(settings, folder)]


def targets_signer(settings: Settings, uri: str | None, folder: Path) -> Signer:
    """Return the signer of `targets.json`.

    Raises:
        BadInput: none is named, and this is not the home's own trust root.
        Misconfigured: it cannot be loaded.
    """
    found = signers(settings, [uri] if uri else None, folder)
    if not found:
        raise BadInput("Name the signer of targets.json: --targets-key URI.")
    return found[0]


def days(option: str, number: int) -> int:
    """Return a number of days from 1 to 3650.

    Raises:
        BadInput: it is another number.
    """
    if not 1 <= number <= _MOST_DAYS:
        raise BadInput(f"{option} takes 1 to {_MOST_DAYS} days, not {number}.")
    return number


def moment(option: str, text: str | None) -> datetime | None:
    """Read a time in ISO 8601; without an offset it is UTC.

    Raises:
        BadInput: it is no time.
    """
    try:
        read = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} takes a time such as 2027-01-31T12:00:00Z, not {text!r}.") from None
    return read.replace(tzinfo=UTC) if read is not None and read.tzinfo is None else read


def roles(option: str, pairs: Sequence[str]) -> dict[str, int]:
    """Read `ROLE=N` pairs.

    Raises:
        BadInput: one is no such pair.
    """
    read: dict[str, int] = {}
    for pair in pairs:
        role, _, number = pair.partition("=")
        if not (role and number.isascii() and number.isdigit() and int(number)) or role in read:
            raise BadInput(f"{option} takes ROLE=N, such as {option} security=1, N from 1, each role once, not {pair!r}.")
        read[role] = int(number)
    return read


def _own_key(settings: Settings, folder: Path) -> list[str]:
    own = development_key.path_in(settings.home, development_key.ROOT_KEY)
    return [f"file:{own}"] if folder == trust_folder(settings.home) and own.is_file() else []
