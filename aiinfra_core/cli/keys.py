"""`keys generate`, `keys show` and `keys check`. How keys sign lives in `signing`, which signer is configured in `aiinfra_core.keys`."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cyclopts import App

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, note, say_fields, say_json, say_table, working
from aiinfra_core.cli.parts import started_parts
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.embedded import development_key
from aiinfra_core.errors import AiInfraError
from aiinfra_core.keys import SIGNED_HERE, configured_signer, loaded_signer
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.signing.signer import sign_verified

keys = App(name="keys")


@keys.command(help_epilogue=examples('export AI_INFRA_SIGNER_KEY_B64="$(aiinfra keys generate)" AI_INFRA_SIGNER_ID=ci'))
def generate(*, as_json: AsJson = False) -> None:
    """Print a new Ed25519 key: base64 of a 32-byte seed, for AI_INFRA_SIGNER_KEY_B64. It is kept nowhere."""
    seed = local.generate()
    if as_json:
        return say_json({"keyB64": seed, "publicKeyB64": local.from_base64(seed).public_key.base64})
    print(seed)  # noqa: T201 - alone on standard output, so that a shell can take it
    return note("This is a private key: put it into AI_INFRA_SIGNER_KEY_B64, or into a file of mode 0600 for file:, and nowhere else.")


@keys.command(help_epilogue=examples("aiinfra keys show"))
def show(*, as_json: AsJson = False) -> None:
    """Show the public key of the signer of each purpose; nothing is signed."""
    settings = started_parts()
    signers = [_described(settings, purpose) for purpose in SIGNED_HERE]
    if as_json:
        promotion = next(signer for signer in signers if signer["purpose"] == Purpose.PROMOTION)
        return say_json({name: promotion[name] for name in promotion if name != "purpose"} | {"signers": signers})
    for signer, purposes in _grouped(signers):
        say_fields(
            {
                "signs": ", ".join(purposes),
                "signer": signer["signerId"] + (" (a development key; production refuses it)" if signer["development"] else ""),
                "keyid": signer["keyid"],
                "public key": signer["publicKeyB64"],
            }
        )
    return None


@keys.command(help_epilogue=examples("aiinfra keys check", "aiinfra keys check --json"))
def check(*, as_json: AsJson = False) -> None:
    """Sign a test message with the signer of each purpose, verify the signature and tell how long it took; nothing is recorded."""
    settings = started_parts()
    with working("Asking the signers"), ThreadPoolExecutor(len(SIGNED_HERE)) as pool:
        checked = list(pool.map(partial(_checked, settings), SIGNED_HERE))
    if as_json:
        say_json([{name: value for name, value in row.items() if name != "error"} for row in checked])
    else:
        rows = [(row["purpose"], row["signerId"], row["milliseconds"], row["outcome"]) for row in checked]
        say_table(("PURPOSE", "SIGNER", "MILLISECONDS", "OUTCOME"), rows)
    if failed := [row["error"] for row in checked if row["error"]]:
        raise failed[0]


def _described(settings: Settings, purpose: Purpose) -> dict[str, Any]:
    signer = loaded_signer(settings, purpose)
    uri = settings.signer_uris[SIGNED_HERE.index(purpose)]
    return {
        "purpose": purpose,
        "signerId": signer.signer_id,
        "keyid": signer.public_key.keyid,
        "publicKeyB64": signer.public_key.base64,
        "development": uri is not None and development_key.is_named_by(uri),
    }


def _grouped(signers: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[str]]]:
    groups: dict[tuple[str, str], tuple[dict[str, Any], list[str]]] = {}
    for signer in signers:
        groups.setdefault((signer["signerId"], signer["keyid"]), (signer, []))[1].append(signer["purpose"])
    return list(groups.values())


def _checked(settings: Settings, purpose: Purpose) -> dict[str, Any]:
    row: dict[str, Any] = {"purpose": purpose, "signerId": None, "outcome": None, "milliseconds": None, "error": None}
    try:
        signer = configured_signer(settings, purpose)
        row["signerId"] = signer.signer_id
        started = time.monotonic()
        sign_verified(signer, f"ai-infra: a test of the {purpose} key, it states nothing: {secrets.token_hex(16)}".encode())
        return row | {"outcome": "pass", "milliseconds": round(1000 * (time.monotonic() - started), 1)}
    except AiInfraError as error:
        return row | {"outcome": f"fail: {error}", "error": error}
