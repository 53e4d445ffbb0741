"""A Vault (or OpenBao) transit engine over a real socket: sign, verify and key read, with the refusals of the real one."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.simulators.scripted_server import Behaviour, Handler, Received, scripted_server

serve = scripted_server
TOKEN = "hvs.CAESIJ-test-token-that-must-not-leak"  # noqa: S105 - opens nothing
KEY = "release"


class Refusal(Exception):
    """A status with Vault's error sentences."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status, self.errors = status, errors


@dataclass(frozen=True)
class Transit:
    """One transit mount with one key; `versions` by number, the highest is the newest."""

    versions: Mapping[int, Ed25519PrivateKey]
    type: str = "ed25519"
    mount: str = "transit"
    namespace: str | None = None
    policy: tuple[str, ...] = ("sign", "verify", "keys")
    minimum: int = 0
    sealed: bool = False
    sign: Callable[[Ed25519PrivateKey, bytes], bytes] = field(default=lambda key, message: key.sign(message))


def signs(key: Ed25519PrivateKey, **fields: Any) -> Behaviour:
    """Answer as a transit engine whose newest key is this one; fields are those of `Transit`."""
    return answers_as(Transit(**{"versions": {1: key}, **fields}))


def prehashes(key: Ed25519PrivateKey) -> Behaviour:
    """Sign the SHA-512 of the message instead of the message."""
    return signs(key, sign=lambda private, message: private.sign(hashlib.sha512(message).digest()))


def refuses(status: int, *errors: str) -> Behaviour:
    """Answer every request with this error."""
    return lambda handler, _: handler.send(status, json.dumps({"errors": list(errors)}).encode())


def answers_as(transit: Transit) -> Behaviour:
    """Answer every request out of this engine."""

    def answer(handler: Handler, received: Received) -> None:
        try:
            data = _answer(transit, received)
        except Refusal as refusal:
            return refuses(refusal.status, *refusal.errors)(handler, received)
        envelope = {"request_id": "9f0e4b5c-0000-4000-8000-2a8b5f2f9c11", "lease_id": "", "renewable": False, "lease_duration": 0}
        return handler.send(200, json.dumps({**envelope, "data": data, "wrap_info": None, "warnings": None, "auth": None}).encode())

    return answer


def _answer(transit: Transit, received: Received) -> dict[str, Any]:
    if transit.sealed:
        raise Refusal(503, "Vault is sealed")
    headers = received.headers
    operation, name = _route(transit, received.path.removeprefix("/v1/"), headers.get("x-vault-namespace"))
    if headers.get("x-vault-token") != TOKEN or operation not in transit.policy:
        raise Refusal(403, "1 error occurred:\n\t* permission denied\n\n")
    if (received.method == "GET") != (operation == "keys"):
        raise Refusal(405, "1 error occurred:\n\t* unsupported operation\n\n")
    if name != KEY:
        raise Refusal(*((404,) if operation == "keys" else (400, "signing key not found")))
    return {"sign": _sign, "verify": _verify, "keys": _key}[operation](transit, received)


def _route(transit: Transit, path: str, namespace: str | None) -> tuple[str, str]:
    rest = path.removeprefix(f"{transit.mount}/").split("/")
    if not path.startswith(f"{transit.mount}/") or namespace != transit.namespace or len(rest) != 2:
        raise Refusal(404, f'no handler for route "{path}". route entry not found.')
    return rest[0], rest[1]


def _sign(transit: Transit, received: Received) -> dict[str, Any]:
    asked = received.json
    message = _decoded(asked)
    if transit.type != "ed25519":
        raise Refusal(400, f"key type {transit.type} does not support signing")
    if asked.get("prehashed"):
        raise Refusal(400, "Ed25519ph is only supported in the enterprise edition")
    version = asked.get("key_version", 0) or max(transit.versions)
    if version < transit.minimum or version not in transit.versions:
        raise Refusal(400, "requested version for signing is less than the minimum encryption key version, or too new")
    signature = base64.b64encode(transit.sign(transit.versions[version], message)).decode()
    return {"key_version": version, "signature": f"vault:v{version}:{signature}"}


def _verify(transit: Transit, received: Received) -> dict[str, Any]:
    _, version, signature = received.json["signature"].split(":")
    try:
        transit.versions[int(version[1:])].public_key().verify(base64.b64decode(signature), _decoded(received.json))
    except InvalidSignature:
        return {"valid": False}
    return {"valid": True}


def _key(transit: Transit, _: Received) -> dict[str, Any]:
    public = {
        str(number): {"name": "ed25519", "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode()}
        for number, key in transit.versions.items()
    }
    return {"name": KEY, "type": transit.type, "keys": public, "latest_version": max(transit.versions), "supports_signing": True}


def _decoded(asked: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(asked["input"], validate=True)
    except KeyError:
        raise Refusal(400, "missing input for signing") from None
    except binascii.Error as error:
        raise Refusal(400, f"unable to decode input as base64: {error}") from None
