"""TLS of the service: which connections are taken, and the client's certificate where the application finds it.

`aiinfra.client_certificate` in the scope is what `getpeercert()` of the connection gives, for a certificate the client CA vouches for,
else None. Who a certificate is, and what they may, is decided in `access`.
"""

import ssl
from asyncio import BaseTransport, TimerHandle, Transport
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aiinfra_core.errors import Misconfigured

_HEAD_BYTES = 64 * 1024
_HEAD_SECONDS = 30.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the connection's certificate in the scope of each request, and heads bounded in size and time."""

    _certificate: dict[str, Any] | None = None
    _head_bytes = 0  # of the head that is being read
    _in_head = False
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Read the certificate once, after the handshake."""
        super().connection_made(cast("Transport", transport))
        connection = transport.get_extra_info("ssl_object")
        self._certificate = (connection.getpeercert() or None) if connection is not None else None
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Read on, but no head without an end."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Put it into the scope of a new request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_is_late)
        self.scope["aiinfra.client_certificate"] = self._certificate  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Carry the request out."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


def context(cert: Path, key: Path | None, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return how TLS is spoken: version 1.2 or later, and with a client CA its certificates are asked for.

    Args:
        cert: the certificate with its chain, PEM.
        key: its private key, PEM, without a password; None when it is in the same file.
        client_ca: the certificates that vouch for clients, PEM.

    Raises:
        Misconfigured: a file cannot be read or does not hold what it should.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    names = f"AI_INFRA_TLS_CERT ({cert})" + (f" and AI_INFRA_TLS_KEY ({key})" if key else "")
    try:
        made.load_cert_chain(cert, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{names} cannot be used: {_why(error)}.") from None
    if client_ca is None:
        return made
    try:
        made.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"AI_INFRA_TLS_CLIENT_CA ({client_ca}) cannot be used: {_why(error)}.") from None
    made.verify_mode = ssl.CERT_OPTIONAL  # whoever asks for health has none; that everybody else has one, `access` sees to
    return made


# Without this OpenSSL would ask at the terminal and wait.
def _refuse_password() -> str:
    raise ValueError("the private key has a password; take it off, and protect the file with its mode")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no PEM in it").lower().replace("_", " ")
        return f"certificate and key do not belong together ({reason})" if "mismatch" in reason else f"it is not right ({reason})"
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
