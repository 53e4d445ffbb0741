"""Attestations as Sigstore bundles v0.3, for the verifiers that read those. Verifying one is theirs; ours verify the envelope."""

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import dsse

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def bundle(envelope: bytes) -> bytes:
    """Return an envelope as a bundle whose public key is named by the keyid; payload and signature are those of the envelope.

    Raises:
        BadInput: the envelope has not exactly one signature, which is what a bundle holds.
        EvidenceBroken: at `envelope` or `payload type`; it is no envelope.
    """
    signatures = dsse.parse(envelope).signatures
    if len(signatures) != 1:
        raise BadInput(f"A Sigstore bundle holds exactly one signature, and this envelope has {len(signatures)}.")
    return around(canonical_json.loads(envelope), signatures[0].keyid)


def around(envelope: object, hint: str) -> bytes:
    """Return the bundle JSON around a DSSE envelope (as JSON value), naming its key by a hint."""
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return canonical_json.dumps({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})
