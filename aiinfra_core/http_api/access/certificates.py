"""The subject of a client certificate as one word, from the connection or from the header of a trusted proxy.

The word is the subject in the order of RFC 4514, as `openssl x509 -noout -subject -nameopt RFC2253` prints it, with everything but
plain characters percent-quoted: `CN=ci,O=Example%20Corp`. A certificate without a subject is `URI=…`, its only URI name (SPIFFE).
That a certificate is signed by the client CA is checked by TLS here, or by the proxy; this file sees that it is valid today.
"""

import base64
import binascii
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cryptography import x509
from cryptography.x509.oid import NameOID

from aiinfra_core.errors import Unauthenticated

_MAX_HEADER_BYTES = 16 * 1024
_RFC_9440 = re.compile(rb":([A-Za-z0-9+/]+=*):")
_PLAIN = "@.:/-_~!#$&'()*;?[]<>^`{}|"
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "userId": "UID",
}
_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
}
_Names = tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Certificate:
    """Whom a certificate is for, and from when until when it is valid (seconds since 1970)."""

    subject: str
    since: float
    until: float

    def checked(self) -> "Certificate":
        """Return it if it is valid now.

        Raises:
            Unauthenticated: it is not; a connection may outlive its certificate.
        """
        if not self.since <= time.time() <= self.until:
            raise Unauthenticated("The client certificate is not valid today; bring one that is.")
        return self


def of_connection(told: Mapping[str, Any]) -> Certificate:
    """Return the certificate that `getpeercert()` told.

    Raises:
        Unauthenticated: it names nobody, or is not valid now.
    """
    return _told(told["subject"], told.get("subjectAltName", ()), told["notBefore"], told["notAfter"]).checked()


def of_header(value: bytes) -> Certificate:
    """Return the certificate in a proxy's header: RFC 9440 (`:BASE64:`), or percent-quoted PEM, as nginx and AWS write it.

    Raises:
        Unauthenticated: it cannot be read, names nobody, or is not valid now.
    """
    return _written(value).checked()


@lru_cache(maxsize=1024)
def _told(subject: _Names, others: tuple[tuple[str, str], ...], since: str, until: str) -> Certificate:
    names = tuple(tuple((_SHORT.get(name, name), value) for name, value in part) for part in subject)
    uris = tuple(value for kind, value in others if kind == "URI")
    return Certificate(_subject(names, uris), ssl.cert_time_to_seconds(since), ssl.cert_time_to_seconds(until))


@lru_cache(maxsize=1024)
def _written(value: bytes) -> Certificate:
    certificate = _parsed(value)
    names = tuple(
        tuple((_NAMES.get(attribute.oid, attribute.oid.dotted_string), str(attribute.value)) for attribute in part)
        for part in certificate.subject.rdns
    )
    return Certificate(
        _subject(names, _uris(certificate)), certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def _parsed(value: bytes) -> x509.Certificate:
    try:
        if len(value) <= _MAX_HEADER_BYTES and (whole := _RFC_9440.fullmatch(value)):
            return x509.load_der_x509_certificate(base64.b64decode(whole[1], validate=True))
        if len(value) <= _MAX_HEADER_BYTES and value.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(unquote_to_bytes(value))
    except (ValueError, binascii.Error):
        pass
    raise Unauthenticated("The client certificate that the proxy sent cannot be read.")


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except (x509.ExtensionNotFound, ValueError):
        return ()


def _subject(names: _Names, uris: tuple[str, ...]) -> str:
    if names:
        return ",".join("+".join(f"{name}={quote(value, safe=_PLAIN)}" for name, value in part) for part in reversed(names))
    if len(uris) == 1:
        return f"URI={quote(uris[0], safe=_PLAIN)}"
    raise Unauthenticated("The client certificate names nobody; bring one with a subject, or with one URI name.")
