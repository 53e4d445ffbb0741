"""The Python client of the service: typed calls over HTTP for notebooks, pipelines and executors of one's own.

    with Client.from_environment() as registry:
        job = registry.wait_for_job(registry.train(spec).id)

It knows no database, no Prefect and no settings, and is quick to import. What is sent and received are the records of
`aiinfra_core.wire`; what goes wrong are the errors of `aiinfra_core.errors`.

    connection   one exchange: TLS always verified, bounded in time and size, tried again where that can help
    credentials  who we are, and whom we trust
    failures     why there was no answer, in words
    answers      what an answer means
    calls        reads, writes under a request id, lists in pages
    reading, writing, approving, rolling_out, executing    what can be asked, a room for each kind
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from aiinfra_core.client.answers import PromotionUnavailable
from aiinfra_core.client.approving import Approving
from aiinfra_core.client.connection import Connection, Patience
from aiinfra_core.client.credentials import proof_headers, tls_context
from aiinfra_core.client.executing import Executing, Lease
from aiinfra_core.client.reading import Reading
from aiinfra_core.client.rolling_out import RollingOut
from aiinfra_core.client.writing import Writing
from aiinfra_core.errors import Misconfigured

_VARIABLES = ("SERVER", "TOKEN", "DEBUG_TOKEN", "CLIENT_CERT", "CLIENT_KEY", "CA")

__all__ = ["Client", "Lease", "PromotionUnavailable"]


class Client(Writing, Reading, Approving, RollingOut, Executing):
    """The service at an address, as somebody; threads may share it. Close it, or use it as a context manager.

    Every call may raise, beside what it names itself:
        Unauthenticated, Forbidden: the service does not know you, or you have no role for this.
        TooManyRequests, Unavailable: after trying again for `deadline` seconds; `part` names what is missing, `service` the service itself.
        BadInput: what was asked is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        debug_token: str | None = None,
        cert: tuple[str | Path, str | Path] | None = None,
        ca: str | Path | None = None,
        timeout: float = 30.0,
        deadline: float = 60.0,
        long_timeout: float = 600.0,
        unreached: float | None = None,
    ) -> None:
        """Prepare to ask a service; nothing is sent yet.

        Args:
            url: its address, such as https://registry.example.
            token: an OIDC bearer token.
            debug_token: what a service in development takes instead.
            cert: a client certificate and its key, PEM files.
            ca: the CA certificates that vouch for the service, a PEM file; without it, the usual ones.
            timeout: how many seconds one attempt may take.
            deadline: how many seconds a call is tried again.
            long_timeout: how many seconds one attempt may take where the service reads an artifact's bytes or the whole history first.
            unreached: how many seconds a read is tried again where nobody has answered yet; without it, `deadline`.

        Raises:
            Misconfigured: one of these cannot be used; no secret is told.
        """
        patience = Patience(attempt=timeout, long_attempt=long_timeout, altogether=deadline, unreached=unreached)
        super().__init__(Connection(url, proof_headers(token, debug_token), tls_context(cert, ca), patience))

    @classmethod
    def from_environment(
        cls, url: str | None = None, *, timeout: float = 30.0, deadline: float = 60.0, unreached: float | None = None
    ) -> Self:
        """Return a client of this address, or of AI_INFRA_SERVER, as whom the environment says.

        That is AI_INFRA_TOKEN, AI_INFRA_CLIENT_CERT with AI_INFRA_CLIENT_KEY or, in development, AI_INFRA_DEBUG_TOKEN; AI_INFRA_CA is the
        service's CA where it is your own.

        Raises:
            Misconfigured: one of them is missing or cannot be used; no secret is told.
        """
        given = {name: os.environ.get(f"AI_INFRA_{name}") or None for name in _VARIABLES}
        cert, key, server = given["CLIENT_CERT"], given["CLIENT_KEY"], url or given["SERVER"]
        if server is None:
            raise Misconfigured("Name the service: set AI_INFRA_SERVER, such as https://registry.example.")
        if (cert is None) != (key is None):
            raise Misconfigured("A client certificate needs both AI_INFRA_CLIENT_CERT and AI_INFRA_CLIENT_KEY.")
        return cls(
            server,
            token=given["TOKEN"],
            debug_token=None if given["TOKEN"] else given["DEBUG_TOKEN"],
            cert=(cert, key) if cert and key else None,
            ca=given["CA"],
            timeout=timeout,
            deadline=deadline,
            unreached=unreached,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._connection.url!r})"

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()
