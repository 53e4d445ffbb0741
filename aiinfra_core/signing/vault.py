"""A signer in the transit engine of HashiCorp Vault or OpenBao: `POST {address}/v1/{mount}/sign/{key}`.

The token comes from VAULT_TOKEN, BAO_TOKEN, or the file named by VAULT_TOKEN_FILE or BAO_TOKEN_FILE, and is read for each signature:
a renewed one is used at once, and none is kept. The key must be of type ed25519; Vault then signs the message itself.
"""

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiinfra_core import canonical_json, outbound
from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.outbound import Patience
from aiinfra_core.signing import secret_file
from aiinfra_core.signing.public_key import PublicKey

_MAX_REPLY_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_TOKEN = re.compile(r"[\x21-\x7e]{1,4000}")
_SIGNATURE = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})")
_WAY_OUT = "give VAULT_TOKEN, or name the token's file in VAULT_TOKEN_FILE"
_REFUSALS = {
    400: "check that the key exists, is of type ed25519 and has this version",
    403: "give a token that is still good and may update this path",
    404: "check the mount, the namespace and the address",
}


@dataclass(frozen=True)
class VaultSigner:
    """Signs with one transit key; `version` None takes the newest version, which must then be the pinned key.

    Safe to use from several threads at once.
    """

    address: str
    key: str
    public_key: PublicKey
    signer_id: str
    mount: str = "transit"
    version: int | None = None
    namespace: str | None = None
    patience: Patience = field(default_factory=Patience)
    parallel = 32

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.key):
            raise Misconfigured("A vault: signer needs the key's name, as in vault:release-key?address=https://vault.example:8200.")
        for what, path in (("mount", self.mount), ("namespace", self.namespace)):
            if path is not None and not all(_NAME.fullmatch(part) for part in path.strip("/").split("/")):
                raise Misconfigured(f"The {what} of a vault: signer is not a path of letters, digits, dots, hyphens and underscores.")

    def sign(self, message: bytes) -> bytes:
        """Return Vault's signature over the message.

        Raises:
            Unavailable: `signer`; no answer in time, a standby or sealed server, too many requests, or not the answer that was agreed.
            Misconfigured: there is no token, or Vault refuses it, the key or the path.
        """
        asked: dict[str, Any] = {"input": base64.b64encode(message).decode()} | ({"key_version": self.version} if self.version else {})
        headers = {"X-Vault-Token": _token(), "X-Vault-Request": "true"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace.strip("/")
        body = canonical_json.dumps(asked)
        reply = outbound.post(
            "signer", f"{self.address}/v1/{self._path}", body, headers=headers, patience=self.patience, max_bytes=_MAX_REPLY_BYTES
        )
        if reply.status in _REFUSALS:
            raise Misconfigured(f"Vault refused to sign at {self._path} (HTTP {reply.status}); {_REFUSALS[reply.status]}.")
        if reply.status != 200:
            raise Unavailable("signer", f"Vault answered HTTP {reply.status} at {self._path}; ask the active server, and not too often.")
        if reply.too_long:
            raise _malformed(f"is longer than {_MAX_REPLY_BYTES} bytes")
        return self._signature(reply.body)

    @property
    def _path(self) -> str:
        return f"{self.mount.strip('/')}/sign/{self.key}"

    def _signature(self, body: bytes) -> bytes:
        try:
            answer = canonical_json.loads(body, what="Vault's answer")
        except BadInput as error:
            raise Unavailable("signer", f"{error} Check what listens at {self.address}.") from error
        data = answer.get("data") if isinstance(answer, dict) else None
        text = data.get("signature") if isinstance(data, dict) else None
        found = _SIGNATURE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise _malformed("holds no signature")
        if self.version and int(found[1]) != self.version:
            raise _malformed(f"is signed with version {found[1]} of the key, not {self.version}")
        try:
            return base64.b64decode(found[2], validate=True)
        except binascii.Error:
            raise _malformed("holds a signature that is not base64") from None


def default_address() -> str | None:
    """Return the server named by VAULT_ADDR or BAO_ADDR."""
    return os.environ.get("VAULT_ADDR") or os.environ.get("BAO_ADDR")


def _token() -> str:
    given = os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN")
    path = os.environ.get("VAULT_TOKEN_FILE") or os.environ.get("BAO_TOKEN_FILE")
    if not given and not path:
        raise Misconfigured(f"There is no Vault token; {_WAY_OUT}.")
    token = (given or secret_file.read(Path(str(path)), "token file", _WAY_OUT, closed_to=0o007)).strip()
    if not _TOKEN.fullmatch(token):
        raise Misconfigured(f"The Vault token is not one line of printable characters; {_WAY_OUT}.")
    return token


def _malformed(what: str) -> Unavailable:
    return Unavailable("signer", f"Vault's answer {what}; check the address, the mount and the key.")
