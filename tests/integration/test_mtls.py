"""Client certificates over real TLS, and in the header of a proxy: whose says who asks, and when everybody needs one."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aiinfra_core.http_api import tls
from aiinfra_core.settings import Settings
from tests.simulators.certificates import Authority, Issued, client_tls
from tests.simulators.oidc import AUDIENCE, Issuer, issuing
from tests.simulators.service import AS_DEBUG
from tests.simulators.who_asks import NO_TLS, asking

CI = "cert:CN=ci,O=Example%20Corp"
ROLES = f'{{"{CI}": ["trainer"], "cert:URI=spiffe://example/runner": ["registrar"], "sub:alice": ["viewer"]}}'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as started:
        yield started


def asked_of(
    settings: Settings, authority: Authority, own: Issued | None = None, headers: Any = None, path: str = "/who"
) -> httpx.Response:
    """Ask a service over TLS, with a certificate of one's own or without."""
    server = authority.server()
    with asking(settings, tls.context(server.cert, server.key, authority.cert)) as url:
        return httpx.get(url + path, headers=headers, verify=client_tls(authority, own))


def test_the_subject_of_a_client_certificate_says_who_asks_and_has_roles(authority: Authority) -> None:
    told = asked_of(Settings(roles=ROLES), authority, authority.client("ci")).json()
    assert (told["actor"], told["roles"]) == (CI, ["trainer"])
    told = asked_of(Settings(roles=ROLES), authority, authority.client(None, uri="spiffe://example/runner")).json()
    assert (told["actor"], told["roles"]) == ("cert:URI=spiffe://example/runner", ["registrar"])
    assert asked_of(Settings(roles=ROLES), authority, authority.client("other")).json()["roles"] == []
    assert is_nobody(asked_of(Settings(roles=ROLES), authority))


def test_a_name_made_to_look_like_another_subject_is_not_it(authority: Authority) -> None:
    told = asked_of(Settings(roles=ROLES), authority, authority.client("ci,O=Example Corp")).json()
    assert (told["actor"], told["roles"]) == ("cert:CN=ci%2CO%3DExample%20Corp,O=Example%20Corp", [])


def test_a_certificate_without_a_name_or_with_one_too_long_to_record_is_refused(authority: Authority) -> None:
    assert asked_of(Settings(), authority, authority.client(None)).status_code == 401
    long = authority.issue(x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "a" * 60)] * 5), [])
    assert asked_of(Settings(), authority, long).status_code == 401


def test_certificates_of_others_expired_ones_and_those_of_servers_do_not_get_through_the_handshake(
    authority: Authority, stranger: Authority
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for own in (stranger.client("ci"), authority.client("ci", until=yesterday), authority.server()):
        with pytest.raises(httpx.TransportError):
            asked_of(Settings(roles=ROLES), authority, own)


def test_where_mtls_is_required_everybody_needs_a_certificate_for_everything_but_health(authority: Authority, issuer: Issuer) -> None:
    settings = Settings(
        require_mtls=True,
        roles=ROLES,
        oidc_issuer=issuer.url,
        oidc_audience=(AUDIENCE,),
        allow_debug_token=True,
        debug_token=AS_DEBUG["X-Debug-Token"],
        public_reads=True,
    )
    bearer = {"Authorization": f"Bearer {issuer.token()}"}
    for without in ({}, bearer, AS_DEBUG):
        answer = asked_of(settings, authority, headers=without)
        assert (answer.status_code, answer.json()["error"]) == (401, "Everybody needs a client certificate here.")
        assert asked_of(settings, authority, headers=without, path="/livez").status_code == 200
    own = authority.client("ci")
    assert asked_of(settings, authority, own).json()["actor"] == CI
    told = asked_of(settings, authority, own, bearer).json()
    assert (told["actor"], told["roles"]) == ("alice", ["viewer"]), "a token beside it says who asks, with its own roles alone"
    wrong = asked_of(settings, authority, own, {"Authorization": f"Bearer {issuer.token(aud='another')}"})
    assert wrong.status_code == 401, "a wrong token is not made good by a certificate"


def test_two_proofs_are_refused_whichever_is_stronger(authority: Authority, issuer: Issuer) -> None:
    settings = Settings(
        roles=ROLES, oidc_issuer=issuer.url, oidc_audience=(AUDIENCE,), allow_debug_token=True, debug_token=AS_DEBUG["X-Debug-Token"]
    )
    bearer = {"Authorization": f"Bearer {issuer.token()}"}
    own = authority.client("ci")
    for both in (bearer, AS_DEBUG):
        answer = asked_of(settings, authority, own, both)
        assert (answer.status_code, "one proof" in answer.json()["error"]) == (401, True)
    with asking(settings) as url:
        for several in (
            [*bearer.items(), *AS_DEBUG.items()],
            [*bearer.items(), *bearer.items()],
            [*AS_DEBUG.items(), *AS_DEBUG.items()],
            [*AS_DEBUG.items(), ("Authorization", "Basic bWU6c2VjcmV0")],
        ):
            assert httpx.get(f"{url}/who", headers=several, verify=NO_TLS).status_code == 401, several


@pytest.mark.parametrize("wrong", ["Basic bWU6c2VjcmV0", "Bearer", "Bearer=", "Bearer a b", "", "Bearer é", "Token abc"])
def test_an_authorization_that_is_no_bearer_token_is_refused_and_never_ignored(wrong: str, issuer: Issuer) -> None:
    for settings in (Settings(), Settings(oidc_issuer=issuer.url, oidc_audience=(AUDIENCE,))):
        with asking(settings) as url:
            answer = httpx.get(f"{url}/who", headers=[(b"Authorization", wrong.encode("latin-1"))], verify=NO_TLS)
            assert answer.status_code == 401


def test_a_bearer_token_is_refused_where_none_are_taken(issuer: Issuer) -> None:
    with asking(Settings(public_reads=True)) as url:
        answer = httpx.get(f"{url}/who", headers={"Authorization": f"Bearer {issuer.token()}"}, verify=NO_TLS)
        assert (answer.status_code, answer.json()["error"]) == (401, "Bearer tokens are not taken here.")


def behind_proxy(**more: Any) -> Settings:
    given = {"trusted_proxies": ("127.0.0.0/8",), "proxy_cert_header": "Client-Cert", "roles": ROLES}
    return Settings(**(given | more))


def rfc_9440(issued: Issued) -> str:
    return f":{base64.b64encode(issued.certificate.public_bytes(Encoding.DER)).decode()}:"


def quoted_pem(issued: Issued) -> str:
    return quote(issued.cert.read_text())


def with_header(settings: Settings, *values: str) -> httpx.Response:
    with asking(settings) as url:
        return httpx.get(f"{url}/who", headers=[("Client-Cert", value) for value in values], verify=NO_TLS)


@pytest.mark.parametrize("written", [rfc_9440, quoted_pem])
def test_a_trusted_proxy_tells_the_certificate_in_its_header(written: Any, authority: Authority) -> None:
    told = with_header(behind_proxy(), written(authority.client("ci"))).json()
    assert (told["actor"], told["roles"]) == (CI, ["trainer"])
    told = with_header(behind_proxy(), written(authority.client(None, uri="spiffe://example/runner"))).json()
    assert told["roles"] == ["registrar"]


def is_nobody(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and "actor" not in answer.json()


def test_the_header_of_anybody_else_is_nothing(authority: Authority) -> None:
    header = rfc_9440(authority.client("ci"))
    assert is_nobody(with_header(behind_proxy(trusted_proxies=("192.0.2.0/24",)), header))
    assert is_nobody(with_header(behind_proxy(trusted_proxies=()), header))
    assert is_nobody(with_header(behind_proxy(proxy_cert_header=None), header))
    assert is_nobody(with_header(behind_proxy(), ""))
    assert with_header(behind_proxy(require_mtls=True, trusted_proxies=("192.0.2.0/24",)), header).status_code == 401


def test_a_header_that_is_there_twice_unreadable_or_out_of_date_is_refused(authority: Authority) -> None:
    good, expired = authority.client("ci"), authority.client("ci", until=datetime.now(UTC) - timedelta(hours=1))
    for values in (
        [rfc_9440(good), rfc_9440(authority.client("other"))],
        [rfc_9440(good) + ", " + rfc_9440(good)],
        [rfc_9440(expired)],
        [quoted_pem(expired)],
        [rfc_9440(good)[:-20] + ":"],
        ["nonsense"],
        [":" + "A" * 30_000 + ":"],
    ):
        assert with_header(behind_proxy(), *values).status_code == 401, values[0][:40]


def test_the_certificate_of_the_proxy_itself_says_nothing_about_who_asks(authority: Authority) -> None:
    assert is_nobody(asked_of(behind_proxy(), authority, authority.client("ci")))
    assert asked_of(behind_proxy(require_mtls=True), authority, authority.client("ci")).status_code == 401
    other = rfc_9440(authority.client(None, uri="spiffe://example/runner"))
    assert asked_of(behind_proxy(), authority, authority.client("ci"), {"Client-Cert": other}).json()["roles"] == ["registrar"]


def test_both_ways_write_the_same_subject(authority: Authority) -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Bärenland"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "a+b=c"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "M%L"),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example"),
            x509.NameAttribute(NameOID.USER_ID, "7"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "42"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ci@example.com"),
            x509.NameAttribute(NameOID.COMMON_NAME, 'c"i\\'),
        ]
    )
    own = authority.issue(subject, [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])])
    seen = asked_of(Settings(), authority, own).json()["actor"]
    assert (
        seen == with_header(behind_proxy(), rfc_9440(own)).json()["actor"] == with_header(behind_proxy(), quoted_pem(own)).json()["actor"]
    )
    assert seen.startswith("cert:CN=c%22i%5C,emailAddress=ci@example.com,serialNumber=42,UID=7,DC=example,OU=M%25L,O=Example%2C%20Inc.,")
