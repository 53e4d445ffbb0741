"""How we say who we are, and how the service shows that it is the right one."""

import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from aiinfra_core.errors import Misconfigured


def proof_headers(token: str | None, debug_token: str | None) -> dict[str, str]:
    """Return the header that says who asks.

    Raises:
        Misconfigured: both are given, or one is no token; its value is not told.
    """
    if token is not None and debug_token is not None:
        raise Misconfigured("Give a token or a debug token, not both.")
    given = token if token is not None else debug_token
    if given is None:
        return {}
    if not given or not all("!" <= letter <= "~" for letter in given):
        raise Misconfigured("The token must be printable ASCII without spaces.")
    return {"Authorization": f"Bearer {given}"} if token is not None else {"X-Debug-Token": given}


def tls_context(cert: tuple[str | Path, str | Path] | None, ca: str | Path | None) -> ssl.SSLContext:
    """Return how the service is verified (always), and the certificate we show it, if one is given as (certificate, key) in PEM.

    Raises:
        Misconfigured: a file cannot be read or is no such thing.
    """
    try:
        context = _trusting(ca, own=cert is not None)
    except OSError as error:
        raise Misconfigured(f"The CA certificates in {ca} cannot be used: {error.strerror or type(error).__name__}.") from None
    if cert is not None:
        try:
            context.load_cert_chain(*cert, password="")
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Misconfigured(
                f"The client certificate {cert[0]} with its key cannot be used: {why}; both are PEM, not encrypted."
            ) from None
    return context


def _trusting(ca: str | Path | None, *, own: bool) -> ssl.SSLContext:
    if ca is not None:
        return ssl.create_default_context(cafile=ca)
    return httpx.create_ssl_context() if own else _usual()


# Reading all the usual CA certificates takes longer than asking a service near by.
@lru_cache(maxsize=1)
def _usual() -> ssl.SSLContext:
    return httpx.create_ssl_context()
