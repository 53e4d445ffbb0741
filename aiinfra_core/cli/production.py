"""`init --production`: what is made is told, and what is left to do."""

from collections.abc import Sequence
from pathlib import Path

from aiinfra_core.cli.output import say, say_fields, say_json
from aiinfra_core.cli.trust_typed import key_or_signer
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput
from aiinfra_core.settings import Settings
from aiinfra_core.trusting.preparing import ENVIRONMENT_FILE, Prepared, Wanted, prepare, purpose_named


def init_production(
    out: Path,
    *,
    signers: Sequence[str],
    root_keys: Sequence[str],
    threshold: int,
    targets_key: str | None,
    owner: str,
    log: str | None,
    as_json: bool,
) -> None:
    """Make the folder of a production installation and say what is in it."""
    settings = Settings()
    wanted = Wanted(
        signers=_signers(signers),
        root_keys=[key_or_signer(settings, text) for text in root_keys],
        threshold=threshold,
        targets_key=targets_key,
        owner=owner,
        log=log or settings.log_origin,
    )
    made = prepare(settings, out, wanted)
    say_json(_facts(made)) if as_json else _say(made)


def _signers(pairs: Sequence[str]) -> dict[Purpose, str]:
    read: dict[Purpose, str] = {}
    for pair in pairs:
        name, _, uri = pair.partition("=")
        purpose = purpose_named(name)
        if not uri or purpose in read:
            raise BadInput(f"--signer takes PURPOSE=URI, such as --signer audit=vault:audit, each purpose once, not {name[:40]!r}.")
        read[purpose] = uri
    return read


def _facts(made: Prepared) -> dict[str, object]:
    return {
        "directory": str(made.folder),
        "environmentFile": str(made.folder / ENVIRONMENT_FILE),
        "trustRoot": str(made.folder / "trust" / "1.root.json"),
        "signers": {str(purpose): uri for purpose, uri in made.signers.items()},
        "keyFiles": [str(made.folder / "keys" / name) for name in made.key_files],
        "rootCounts": made.trust.waiting is None,
        "left": list(made.left),
    }


def _say(made: Prepared) -> None:
    say(f"Made in {made.folder}:")
    say_fields(
        {
            ENVIRONMENT_FILE: "the settings",
            "trust/": "whose signatures count" + (", once its root is signed by enough keys" if made.trust.waiting else ""),
            "keys/": ", ".join(made.key_files) or None,
            **{f"{purpose} signer": uri for purpose, uri in made.signers.items()},
        }
    )
    say("Left to do:")
    for number, step in enumerate(made.left, start=1):
        say(f"  {number}. {step}")
