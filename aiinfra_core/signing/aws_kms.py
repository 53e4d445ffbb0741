"""A signer in AWS KMS: `Sign` with an Ed25519 key (ECC_NIST_EDWARDS25519, ED25519_SHA_512) over the message itself.

Credentials, region and endpoint come from where AWS tools find them; none is kept here. Needs the extra `aws-kms`.
"""

import logging
import os
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import botocore.exceptions as aws
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.session import Session

from aiinfra_core.errors import AiInfraError, BadInput, Misconfigured, Unavailable
from aiinfra_core.outbound import Patience, within
from aiinfra_core.signing.public_key import PublicKey

# At DEBUG botocore writes session tokens and messages into the log.
logging.getLogger("botocore").setLevel(logging.INFO)

_MAX_MESSAGE_BYTES = 4096
_PARALLEL = 32
_CREDENTIALS = "check the AWS credentials this process runs with"
_REFUSALS = {
    "AccessDeniedException": "allow kms:Sign on this key to the identity this process runs as",
    "NotFoundException": "check the key's name, the region and the account",
    "DisabledException": "the key is disabled: enable it or name another",
    "KMSInvalidStateException": "the key is in no state to sign: look at it with aws kms describe-key",
    "InvalidKeyUsageException": "the key must be of spec ECC_NIST_EDWARDS25519 for SIGN_VERIFY",
    "ValidationException": "check that the region offers Ed25519 keys and the key is one",
    "ExpiredTokenException": _CREDENTIALS,
    "IncompleteSignatureException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "InvalidSignatureException": f"{_CREDENTIALS}, the region and this machine's clock",
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
}
_UNUSABLE = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.NoRegionError,
    aws.InvalidRegionError,
    aws.ProfileNotFound,
    aws.ConfigParseError,
    aws.ConfigNotFound,
    aws.ParamValidationError,
    aws.InvalidConfigError,
)


@dataclass(frozen=True)
class AwsKmsSigner:
    """Signs with the KMS key named by id, ARN or `alias/NAME`.

    Each attempt may take `patience.timeout_seconds`, all together `attempts` times that. Safe to use from several threads at once.
    """

    key: str
    public_key: PublicKey
    signer_id: str
    region: str | None = None
    endpoint: str | None = None
    patience: Patience = field(default_factory=Patience)
    parallel = _PARALLEL

    def sign(self, message: bytes) -> bytes:
        """Return the signature AWS KMS makes over the message of 1 to 4,096 bytes.

        Raises:
            BadInput: the message is empty or longer than AWS KMS signs; it is not asked then.
            Unavailable: `signer`; no usable answer in time.
            Misconfigured: credentials, region or key are missing, or AWS refuses them.
        """
        if not 0 < len(message) <= _MAX_MESSAGE_BYTES:
            raise BadInput(
                f"AWS KMS signs messages of 1 to {_MAX_MESSAGE_BYTES} bytes, not {len(message)}; put large content in by digest."
            )
        seconds = self.patience.timeout_seconds * self.patience.attempts
        try:
            answer = within(seconds, lambda: self._ask(message))
        except TimeoutError:
            raise Unavailable(
                "signer", f"No whole answer from AWS KMS within {seconds:g} s; check that it is reachable from here."
            ) from None
        except aws.ClientError as error:
            raise self._refused(error.response) from None
        except _UNUSABLE as error:
            raise Misconfigured(f"AWS KMS cannot be asked ({type(error).__name__}); set AWS credentials and a region.") from None
        except (aws.BotoCoreError, ResponseParserError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise Unavailable("signer", f"AWS KMS gave no usable answer ({type(error).__name__}); check that it is reachable.") from None
        return _signature(answer)

    def _ask(self, message: bytes) -> dict[str, Any]:
        client = _client(self.region, self.endpoint, self.patience)
        answer = client.sign(KeyId=self.key, Message=message, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512")
        return dict(answer)

    def _refused(self, response: dict[str, Any]) -> AiInfraError:
        code = str(response.get("Error", {}).get("Code", ""))[:100]
        if code in _REFUSALS:
            return Misconfigured(f"AWS KMS refused to sign with {self.key} ({code}); {_REFUSALS[code]}.")
        return Unavailable("signer", f"AWS KMS did not sign with {self.key} ({code}); the same call may work later.")


def _signature(answer: dict[str, Any]) -> bytes:
    signature = answer.get("Signature")
    if not isinstance(signature, bytes):
        raise Unavailable("signer", "AWS KMS answered without a signature; check the endpoint.")
    return signature


_creating = threading.Lock()


def _client(region: str | None, endpoint: str | None, patience: Patience) -> Any:
    with _creating:
        return _new_client(region, endpoint, patience)


@lru_cache(maxsize=8)
def _new_client(region: str | None, endpoint: str | None, patience: Patience) -> Any:
    config = Config(
        connect_timeout=patience.timeout_seconds,
        read_timeout=patience.timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        max_pool_connections=_PARALLEL,
    )
    return Session().create_client("kms", region_name=region, endpoint_url=endpoint, config=config)


# Two processes writing to one connection would read each other's answers.
def _forget_clients() -> None:
    _creating.release()
    _new_client.cache_clear()


os.register_at_fork(before=_creating.acquire, after_in_parent=_creating.release, after_in_child=_forget_clients)
