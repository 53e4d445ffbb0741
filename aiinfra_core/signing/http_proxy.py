"""A signer behind HTTP: `POST {endpoint}/sign {"payload_b64"}` answers `{"signature_b64", "signer_id"}`.

The key stays in the KMS; what is pinned here is its public key, and `sign_verified` checks each signature against it.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from aiinfra_core import canonical_json, outbound
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.outbound import Patience
from aiinfra_core.signing.public_key import SIGNATURE_BYTES, PublicKey
from aiinfra_core.signing.signer import default_signer_id

_MAX_REPLY_BYTES = 64 * 1024


@dataclass(frozen=True)
class HttpProxySigner:
    """Asks a signing proxy; `configured_id`, when given, must be the `signer_id` of each answer.

    Connections are kept open between calls. Safe to use from several threads at once.
    """

    endpoint: str
    public_key: PublicKey
    configured_id: str | None = None
    patience: Patience = field(default_factory=Patience)
    parallel = 32

    @property
    def signer_id(self) -> str:
        """The configured name, else one made of the pinned key."""
        return self.configured_id or default_signer_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the proxy's signature over the message.

        Raises:
            Unavailable: `signer`; no answer in time, an HTTP error, or an answer that is not what was agreed.
        """
        body = canonical_json.dumps({"payload_b64": base64.b64encode(message).decode()})
        reply = outbound.post("signer", f"{self.endpoint}/sign", body, headers={}, patience=self.patience, max_bytes=_MAX_REPLY_BYTES)
        if reply.status != 200:
            raise Unavailable("signer", f"The signing proxy refused with HTTP {reply.status}; ask its operator why.")
        if reply.too_long:
            raise _malformed(f"is longer than {_MAX_REPLY_BYTES} bytes")
        return self._signature(_json_object(reply.body))

    def _signature(self, answer: dict[str, Any]) -> bytes:
        answered_id, text = answer.get("signer_id"), answer.get("signature_b64")
        if not isinstance(answered_id, str) or not isinstance(text, str):
            raise _malformed("lacks signature_b64 or signer_id")
        if self.configured_id is not None and answered_id != self.configured_id:
            raise Unavailable(
                "signer", f"The signing proxy signed as {answered_id[:100]!r}, not as {self.configured_id!r}; check AI_INFRA_SIGNER_ID."
            )
        try:
            signature = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise _malformed("holds a signature that is not base64") from None
        if len(signature) != SIGNATURE_BYTES:
            raise _malformed(f"holds a signature of {len(signature)} bytes where Ed25519 has {SIGNATURE_BYTES}")
        return signature


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = canonical_json.loads(body, what="The signing proxy's answer")
    except BadInput as error:
        raise Unavailable("signer", f"{error} Check what listens at AI_INFRA_KMS_ENDPOINT.") from error
    if not isinstance(answer, dict):
        raise _malformed("is not a JSON object")
    return answer


def _malformed(what: str) -> Unavailable:
    return Unavailable("signer", f"The signing proxy's answer {what}; check what listens at AI_INFRA_KMS_ENDPOINT.")
