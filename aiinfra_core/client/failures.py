"""Why a connection failed, in words that name the address and the way out; when it is tried again is in `connection`."""

import socket
import ssl
from collections.abc import Iterator

import httpx

CHECK = "check that the service runs and that its address is right."
_PORTS = {"http": 80, "https": 443}
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})


def address(url: str) -> str:
    """Return scheme, host and port of a URL, the port also where it is the usual one."""
    parsed = httpx.URL(url)
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}:{parsed.port or _PORTS[parsed.scheme]}"


def told(error: Exception, at: str) -> str:
    """Return in a sentence why the connection to an address failed."""
    causes = list(_causes(error))
    secured = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if secured is not None:
        return _of_tls(secured, at)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"Nobody listens at {at}; {CHECK}"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"The name of the host in {at} cannot be resolved; {CHECK}"
    why = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "it was cut before the answer")
    speaks = f" If it speaks TLS, write https{at.removeprefix('http')}." if at.startswith("http:") else ""
    return f"The connection to {at} failed ({why}); {CHECK}{speaks}"


def is_lasting(error: Exception) -> bool:
    """Say whether asking again cannot help: a certificate does not get better, and what speaks no TLS does not learn it."""
    return any(
        isinstance(cause, ssl.SSLCertVerificationError) or (isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS)
        for cause in _causes(error)
    )


def _of_tls(error: ssl.SSLError, at: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{at} is not who it should be: {error.verify_message}. If its CA is yours, name it (AI_INFRA_CA)."
    if error.reason in _NO_TLS:
        return f"What answers at {at} speaks no TLS; if plain HTTP answers there, write http{at.removeprefix('https')}"
    reason = (error.reason or "it was cut").lower().replace("_", " ")
    return f"TLS with {at} failed ({reason}); {CHECK}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
