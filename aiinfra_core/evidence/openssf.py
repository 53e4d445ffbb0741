"""OpenSSF model signatures (`model.sig`), as `model_signing verify key` reads them: a P-256 signature over the files of a model.

The signature is for tools of others and beside our evidence; nothing here believes one.
"""

import base64
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from aiinfra_core import canonical_json
from aiinfra_core.checksums import checked_path
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence import dsse, sigstore_bundle
from aiinfra_core.evidence.statement import STATEMENT_TYPE

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What the tool leaves out of every model when it verifies, so it cannot be signed either."""
_WAY_OUT = "make one with: openssl ecparam -name prime256v1 -genkey -noout"


def load_key(pem: bytes) -> EllipticCurvePrivateKey:
    """Read the private key of a model signature: P-256, PEM, without a password.

    Raises:
        Misconfigured: it is anything else; the key is never in the message.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Misconfigured(f"The OpenSSF signing key is not a readable PEM private key without a password; {_WAY_OUT}.") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise Misconfigured(f"The OpenSSF signing key is not a P-256 key; {_WAY_OUT}.")
    return key


def public_pem(key: EllipticCurvePrivateKey) -> bytes:
    """Return the public key as PEM, the form the tool takes."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign(name: str, files: Mapping[str, str], key: EllipticCurvePrivateKey) -> bytes:
    """Return the bytes of `model.sig` over a model's files but those of git (`IGNORED`); each call gives another signature.

    Args:
        name: the model's name; the tool does not check it.
        files: path relative to the model's directory -> hex SHA-256 of the file's bytes.
        key: from `load_key`.

    Raises:
        BadInput: a path cannot be a file of an artifact.
    """
    payload = canonical_json.dumps(_statement(name, files))
    signature = key.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload), ECDSA(SHA256()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": dsse.PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    return sigstore_bundle.around(envelope, sha256(public_pem(key)).hexdigest())


def _statement(name: str, files: Mapping[str, str]) -> dict[str, object]:
    paths = sorted((PurePosixPath(checked_path(path)) for path in files), key=lambda it: it.parts)
    signed = [str(path) for path in paths if path.parts[0] not in IGNORED]
    digests = b"".join(bytes.fromhex(files[path]) for path in signed)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256(digests).hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(IGNORED)},
            "resources": [{"name": path, "algorithm": "sha256", "digest": files[path]} for path in signed],
        },
    }
