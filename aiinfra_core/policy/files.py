"""Where policies are: shipped with this product, or in a file of the operator's; and the one that counts for a model in an environment."""

import re
from functools import lru_cache
from pathlib import Path

from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.policy import policy_file
from aiinfra_core.policy.policy_file import PolicyFile
from aiinfra_core.rules.document import Policy
from aiinfra_core.settings import Settings

DEFAULT = "default"
_EITHER = "a YAML file, or one of"
_A_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def policies_folder() -> Path:
    """Return the folder of the policies that are shipped: inside the installed package, or in deployments in a checkout."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "policies", package.parent / "deployments" / "policies") if folder.is_dir())


def load(settings: Settings, environment: str, model: str) -> Policy:
    """Return the policy that counts for a model in an environment, with nothing open any more.

    Raises:
        Misconfigured: there is no such policy, or what is written there is none; the message names file, line and field.
    """
    return named(settings, settings.policy or DEFAULT, environment, model)


def check(settings: Settings) -> None:
    """See that the configured policy can be used in every environment.

    Raises:
        Misconfigured: it cannot.
    """
    for environment in settings.environments:
        load(settings, environment, model="")


def named(settings: Settings, name: str, environment: str, model: str) -> Policy:
    """Return what the policy of this name, or in this file, makes for a model in an environment.

    Raises:
        Misconfigured: there is none, or it is wrong.
    """
    path = _path(name)
    try:
        data = path.read_bytes()
        file = _file(data, str(path))
    except OSError as error:
        raise Misconfigured(f"The policy {name} cannot be read ({error.strerror}); it is {_EITHER} {', '.join(_shipped())}.") from None
    except BadInput as error:
        raise Misconfigured(f"The policy {name} cannot be used: {error}") from None
    _refuse_unknown_environments(settings, path, file)
    return _effective(data, str(path), environment, model, settings.min_promo_score)


def read(path: Path) -> tuple[PolicyFile, bytes]:
    """Read a policy file, or one that is shipped, and return its bytes too.

    Raises:
        BadInput: it cannot be read, or is no policy; the message names line and field.
    """
    try:
        data = _path(str(path)).read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; name {_EITHER} {', '.join(_shipped())}.") from None
    return _file(data, str(path)), data


def _shipped() -> list[str]:
    return sorted(file.stem for file in policies_folder().glob("*.yaml"))


def _path(name: str) -> Path:
    return policies_folder() / f"{name}.yaml" if _A_NAME.fullmatch(name) and not Path(name).exists() else Path(name)


# A policy for an environment nobody has is a misspelt one, and the one that was meant goes without.
def _refuse_unknown_environments(settings: Settings, path: Path, file: PolicyFile) -> None:
    if unknown := sorted(file.environments.keys() - set(settings.environments)):
        raise Misconfigured(
            f"{path} has rules for {', '.join(unknown)}, which AI_INFRA_ENVIRONMENTS does not name; copy it and name those there are"
            f" ({', '.join(settings.environments)})."
        )


@lru_cache(maxsize=16)
def _file(data: bytes, what: str) -> PolicyFile:
    return policy_file.read(data, what)


@lru_cache(maxsize=512)
def _effective(data: bytes, what: str, environment: str, model: str, minimum: float) -> Policy:
    known = {"AI_INFRA_MIN_PROMO_SCORE": float(minimum)}
    return policy_file.effective(_file(data, what), data, environment, model, known)
