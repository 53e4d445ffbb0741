"""Where traffic goes, as it is sent: signed envelopes as JSON; what is in them is believed after `evidence.routing` checked it."""

from typing import Any

from pydantic import Field

from aiinfra_core.domain.record import Sha256
from aiinfra_core.wire.records import Sent


class SentRouting(Sent):
    """A signed routing (DSSE, in-toto; `urn:ai-infra:attestation:routing:v1`) and the promotion manifests it names by digest."""

    routing: dict[str, Any] = Field(description="The envelope of the routing; it counts until its `expiresAt`.")
    manifests: dict[Sha256, dict[str, Any]] = Field(description="Digest: the envelope of a manifest, the champion's and the challenger's.")
