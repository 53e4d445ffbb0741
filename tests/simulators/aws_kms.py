"""An AWS KMS over a real socket (AWS JSON 1.1: Sign, GetPublicKey, DescribeKey) with the limits and refusals of the real one.

Requests must carry a right Signature Version 4. Sentences and codes follow the service's published model, not this product.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.simulators.scripted_server import Behaviour, Handler, Received, scripted_server

serve = scripted_server
REGION = "eu-central-1"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the documentation's own example
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS = "alias/ai-infra"
_ARN = f"arn:aws:kms:{REGION}:111122223333:"
KEY_ARN = f"{_ARN}key/{KEY_ID}"
_NAMES = (KEY_ID, KEY_ARN, ALIAS, _ARN + ALIAS)
_MAX_RAW = 4096


@dataclass(frozen=True)
class Key:
    """One KMS key; only Ed25519 keys can sign here, whatever their spec says."""

    private: Ed25519PrivateKey
    spec: str = "ECC_NIST_EDWARDS25519"
    usage: str = "SIGN_VERIFY"
    state: str = "Enabled"
    allowed: bool = True
    sign: Callable[[bytes], bytes] | None = None


class Fault(Exception):
    """An error answer: its code, sentence and status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def signs(key: Ed25519PrivateKey, **fields: Any) -> Behaviour:
    """Answer as a KMS that holds this key does; fields are those of `Key`."""
    return _answers(Key(key, **fields))


def prehashes(key: Ed25519PrivateKey) -> Behaviour:
    """Sign the SHA-512 of the message instead of the message."""
    return signs(key, sign=lambda message: key.sign(hashlib.sha512(message).digest()))


def refuses(code: str, message: str = "no", status: int = 400) -> Behaviour:
    """Answer every request with this error."""
    return lambda handler, _: _send(handler, status, {"__type": code, "message": message})


def _answers(key: Key) -> Behaviour:
    operations = {"Sign": _sign, "GetPublicKey": _get_public_key, "DescribeKey": _describe_key}

    def answer(handler: Handler, received: Received) -> None:
        try:
            _check_signature(received)
            target = received.headers.get("x-amz-target", "").removeprefix("TrentService.")
            if target not in operations or received.headers.get("content-type") != "application/x-amz-json-1.1":
                raise Fault("UnknownOperationException", "")  # noqa: TRY301 - one place answers all refusals
            _send(handler, 200, operations[target](key, received.json))
        except Fault as fault:
            _send(handler, fault.status, {"__type": fault.code, "message": fault.message})

    return answer


def _send(handler: Handler, status: int, body: Mapping[str, Any]) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "7a0c2b5e-0000-4000-8000-3f6f1a2b3c4d"}
    handler.send(status, json.dumps(body).encode(), **headers)


def _sign(key: Key, asked: dict[str, Any]) -> dict[str, Any]:
    message = _message(asked)
    _usable(key, asked)
    if key.usage != "SIGN_VERIFY":
        raise Fault("InvalidKeyUsageException", f"{KEY_ARN} key usage is {key.usage} which is not valid for Sign.")
    if key.spec != "ECC_NIST_EDWARDS25519" or asked["SigningAlgorithm"] != "ED25519_SHA_512":
        raise Fault("InvalidKeyUsageException", f"Algorithm {asked['SigningAlgorithm']} is incompatible with key spec {key.spec}.")
    if asked.get("MessageType", "RAW") != "RAW":
        raise Fault("ValidationException", "The message type must be RAW for the signing algorithm ED25519_SHA_512.")
    signature = (key.sign or key.private.sign)(message)
    return {"KeyId": KEY_ARN, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": asked["SigningAlgorithm"]}


def _message(asked: dict[str, Any]) -> bytes:
    if missing := [name for name in ("KeyId", "Message", "SigningAlgorithm") if name not in asked]:
        raise Fault("ValidationException", f"1 validation error detected: Value null at '{missing[0]}' failed to satisfy constraint.")
    message = base64.b64decode(asked["Message"], validate=True)
    if not message or len(message) > _MAX_RAW:
        bound = f"length less than or equal to {_MAX_RAW}" if message else "length greater than or equal to 1"
        raise Fault("ValidationException", f"1 validation error detected: Value at 'message' failed to satisfy: Member must have {bound}")
    return message


def _usable(key: Key, asked: dict[str, Any]) -> None:
    if asked.get("KeyId") not in _NAMES:
        raise Fault("NotFoundException", f"Key '{_ARN}key/{asked.get('KeyId')}' does not exist")
    if not key.allowed:
        raise Fault("AccessDeniedException", "User: arn:aws:iam::111122223333:user/ci is not authorized to perform: kms:Sign")
    if key.state == "Disabled":
        raise Fault("DisabledException", f"{KEY_ARN} is disabled.")
    if key.state != "Enabled":
        raise Fault("KMSInvalidStateException", f"{KEY_ARN} is {key.state}.")


def _get_public_key(key: Key, asked: dict[str, Any]) -> dict[str, Any]:
    _usable(key, asked)
    spki = key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = {"KeyId": KEY_ARN, "KeySpec": key.spec, "KeyUsage": key.usage, "SigningAlgorithms": ["ED25519_SHA_512", "ED25519_PH_SHA_512"]}
    return {**known, "PublicKey": base64.b64encode(spki).decode()}


def _describe_key(key: Key, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("KeyId") not in _NAMES:
        raise Fault("NotFoundException", f"Key '{_ARN}key/{asked.get('KeyId')}' does not exist")
    return {"KeyMetadata": {"KeyId": KEY_ID, "Arn": KEY_ARN, "KeySpec": key.spec, "KeyUsage": key.usage, "KeyState": key.state}}


def _check_signature(received: Received) -> None:
    scheme, _, rest = received.headers.get("authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise Fault("MissingAuthenticationTokenException", "Missing Authentication Token")
    given = dict(part.strip().split("=", 1) for part in rest.split(","))
    access_key, day, region, service, end = given["Credential"].split("/")
    if access_key != ACCESS_KEY:
        raise Fault("UnrecognizedClientException", "The security token included in the request is invalid.")
    if (region, service, end) != (REGION, "kms", "aws4_request"):
        raise Fault("InvalidSignatureException", f"Credential should be scoped to a valid region. It was {region}/{service}/{end}.")
    if not hmac.compare_digest(given["Signature"], _signature(received, given["SignedHeaders"], day)):
        raise Fault("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")


def _signature(received: Received, signed_headers: str, day: str) -> str:
    lines = [f"{name}:{' '.join(received.headers.get(name, '').split())}\n" for name in signed_headers.split(";")]
    request = "\n".join(("POST", received.path, "", "".join(lines), signed_headers, hashlib.sha256(received.body).hexdigest()))
    scope = f"{day}/{REGION}/kms/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", received.headers.get("x-amz-date", ""), scope, hashlib.sha256(request.encode()).hexdigest()))
    secret = f"AWS4{SECRET_KEY}".encode()
    for part in (day, REGION, "kms", "aws4_request"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    return hmac.digest(secret, text.encode(), "sha256").hex()
