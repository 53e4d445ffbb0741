"""Names below an artifact root that are the product's own records: what lies there is no artifact and is never removed."""

from aiinfra_core.errors import BadInput
from aiinfra_core.settings import Settings

NAMES = frozenset({"audit", "checkpoints", "logs", "training", "trust"})
_STORES = ("file:///", "s3://")


def refuse(settings: Settings, uri: str) -> None:
    """See that a URI is neither a record of ours nor a folder that holds some.

    Raises:
        BadInput: it is.
    """
    for root in _roots(settings):
        if f"{root}/".startswith(f"{uri}/"):
            raise BadInput(
                f"{uri!r} holds records of the log and of trainings, so it is no artifact; store the artifact under a key of its own."
            )
        name, _, _ = uri.removeprefix(f"{root}/").partition("/")
        if uri.startswith(f"{root}/") and name in NAMES:
            raise BadInput(
                f"{uri!r} is no artifact: below {root} the names {', '.join(sorted(NAMES))} are kept for records; use another key."
            )


def _roots(settings: Settings) -> list[str]:
    named = (settings.artifact_root, *settings.artifact_roots, settings.checkpoint_root, *settings.audit_sinks)
    return [root.rstrip("/") for root in named if root is not None and root.startswith(_STORES)]
