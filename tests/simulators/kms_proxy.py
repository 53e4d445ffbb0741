"""A KMS signing proxy over a real socket: `POST /sign {payload_b64}` -> `{signature_b64, signer_id}`, well or badly behaved."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.simulators.scripted_server import Behaviour, Handler, Received, scripted_server

SIGNER_ID = "kms:alias/ai-infra"
serve = scripted_server


def signs(key: Ed25519PrivateKey, *, signer_id: Any = SIGNER_ID) -> Behaviour:
    """Sign the payload itself, as agreed."""
    return _answers_with(key.sign, signer_id)


def prehashes(key: Ed25519PrivateKey) -> Behaviour:
    """Sign the SHA-256 of the payload: the mistake a proxy makes."""
    return _answers_with(lambda message: key.sign(hashlib.sha256(message).digest()), SIGNER_ID)


def cuts_signature(key: Ed25519PrivateKey, length: int) -> Behaviour:
    """Answer with so many bytes of signature."""
    return _answers_with(lambda message: (key.sign(message) * 2)[:length], SIGNER_ID)


def _answers_with(sign: Callable[[bytes], bytes], signer_id: Any) -> Behaviour:
    def answer(handler: Handler, received: Received) -> None:
        signature = sign(base64.b64decode(received.json["payload_b64"]))
        handler.send(200, json.dumps({"signature_b64": base64.b64encode(signature).decode(), "signer_id": signer_id}).encode())

    return answer
