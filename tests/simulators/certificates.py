"""A certificate authority of the tests: real certificates for servers and clients, in files as they are deployed."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Corp")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key in two PEM files."""

    cert: Path
    key: Path

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.cert.read_bytes())


class Authority:
    """Signs certificates with a key of its own; `cert` is what its clients and servers trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._made = 0
        self.cert = self._write(name, self._signed(self._name, self._key.public_key(), [x509.BasicConstraints(ca=True, path_length=0)]))

    def server(self) -> Issued:
        """Issue a certificate for 127.0.0.1."""
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        return self.issue(x509.Name([]), [names, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])])

    def client(self, common_name: str | None, *, uri: str | None = None, until: datetime | None = None) -> Issued:
        """Issue a certificate for a client of Example Corp, or with a URI name alone."""
        subject = [ORGANIZATION, x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        names = [x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])] if uri else []
        return self.issue(x509.Name(subject), [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), *names], until)

    def issue(self, subject: x509.Name, extensions: list[x509.ExtensionType], until: datetime | None = None) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        self._made += 1
        cert = self._write(f"{self._made}", self._signed(subject, key.public_key(), extensions, until))
        path = self._folder / f"{cert.stem}.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Issued(cert, path)

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: list[x509.ExtensionType],
        until: datetime | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(until or now + timedelta(days=2))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / f"{name}-{certificate.serial_number:x}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path


def client_tls(authority: Authority, own: Issued | None = None) -> ssl.SSLContext:
    """Return how a client speaks TLS: it trusts the authority's servers, and shows a certificate of its own if it has one."""
    made = ssl.create_default_context(cafile=authority.cert)
    made.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    if own:
        made.load_cert_chain(own.cert, own.key)
    return made
