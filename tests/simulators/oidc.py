"""A real OIDC issuer over a real socket: discovery and JWKS, keys that rotate, outages; and tokens, good and forged."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, scripted_server

AUDIENCE = "ai-infra"
DISCOVERY = "/.well-known/openid-configuration"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key of this name; making one takes long, so each is made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def new_key(algorithm: str, name: str) -> Key:
    if algorithm.startswith(("RS", "PS")):
        return rsa_key(name)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm])


@dataclass
class Issuer:
    """Publishes its keys (by key id, with their algorithm) and issues tokens; `instead` says by path what it answers instead."""

    url: str = ""
    keys: dict[str, tuple[str, Key]] = field(default_factory=dict)
    instead: dict[str, Behaviour] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add_key(self, key_id: str, algorithm: str = "ES256") -> None:
        self.keys[key_id] = (algorithm, new_key(algorithm, key_id))

    def jwks(self) -> dict[str, Any]:
        return {"keys": [jwk_of(key_id, algorithm, key) for key_id, (algorithm, key) in self.keys.items()]}

    def goes_down(self, behaviour: Behaviour = answers(503, {})) -> None:  # noqa: B008 - it holds no state
        self.instead = {DISCOVERY: behaviour, "/jwks": behaviour}

    def comes_back(self) -> None:
        self.instead = {}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return claims that count, with some changed; one that is None is left out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600} | changed
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key_id: str | None = None, headers: dict[str, Any] | None = None, **changed: Any) -> str:
        """Return a token signed with the key of this id (the first one), whose claims are changed like this."""
        key_id = key_id or next(iter(self.keys))
        algorithm, key = self.keys[key_id]
        return jwt.encode(self.claims(**changed), key, algorithm, headers={"kid": key_id} | (headers or {}))

    def answer(self, handler: Handler, received: Received) -> None:
        self.asked.append(received.path)
        told = {DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}, "/jwks": self.jwks()}
        usual = answers(200, told[received.path]) if received.path in told else answers(404, {})
        self.instead.get(received.path, usual)(handler, received)


@contextmanager
def issuing(algorithm: str = "ES256") -> Iterator[Issuer]:
    """Run an issuer with one key, `first`."""
    issuer = Issuer()
    with scripted_server(issuer.answer) as server:
        issuer.url = server.url
        issuer.add_key("first", algorithm)
        yield issuer


def jwk_of(key_id: str, algorithm: str, key: Key) -> dict[str, Any]:
    made = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": key_id, "alg": algorithm, "use": "sig"}


def unsigned(issuer: Issuer, **changed: Any) -> str:
    """Return a token that says `alg: none`."""
    return f"{_part({'typ': 'JWT', 'alg': 'none', 'kid': next(iter(issuer.keys))})}.{_part(issuer.claims(**changed))}."


def signed_with_public_key(issuer: Issuer, **changed: Any) -> str:
    """Return a token of HS256 whose secret is the issuer's public key, in its PEM form: what a careless verifier takes."""
    key_id, (_, key) = next(iter(issuer.keys.items()))
    secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{_part({'typ': 'JWT', 'alg': 'HS256', 'kid': key_id})}.{_part(issuer.claims(**changed))}"
    return f"{head}.{_base64url(hmac.digest(secret, head.encode(), hashlib.sha256))}"


def tampered(token: str, **changed: Any) -> str:
    """Return a token with other claims under the old signature."""
    head, claims, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return f"{head}.{_part(told | changed)}.{signature}"


def _part(value: Any) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
