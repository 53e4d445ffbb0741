"""`keys generate` and `keys show`. How keys sign lives in `signing`."""

from cyclopts import App

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, note, say_fields, say_json
from aiinfra_core.cli.parts import signs_with_development_key, started_parts
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.keys import configured_signer
from aiinfra_core.signing import local

keys = App(name="keys")


@keys.command(help_epilogue=examples('export AI_INFRA_SIGNER_KEY_B64="$(aiinfra keys generate)" AI_INFRA_SIGNER_ID=ci'))
def generate(*, as_json: AsJson = False) -> None:
    """Print a new Ed25519 key: base64 of a 32-byte seed, for AI_INFRA_SIGNER_KEY_B64. It is kept nowhere."""
    seed = local.generate()
    if as_json:
        return say_json({"keyB64": seed, "publicKeyB64": local.from_base64(seed).public_key.base64})
    print(seed)  # noqa: T201 - alone on standard output, so that a shell can take it
    return note("This is a private key: put it into AI_INFRA_SIGNER_KEY_B64 and nowhere else.")


@keys.command(help_epilogue=examples("aiinfra keys show"))
def show(*, as_json: AsJson = False) -> None:
    """Show the public key of the configured signer: its signatures are the ones that count."""
    settings = started_parts()
    signer = configured_signer(settings, Purpose.PROMOTION)
    development = signs_with_development_key(settings)
    key = signer.public_key
    if as_json:
        return say_json({"signerId": signer.signer_id, "keyid": key.keyid, "publicKeyB64": key.base64, "development": development})
    return say_fields(
        {
            "signer": signer.signer_id + (" (a development key; production refuses it)" if development else ""),
            "keyid": key.keyid,
            "public key": key.base64,
        }
    )
