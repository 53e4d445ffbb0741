"""Who a client certificate names, and whose address is believed behind proxies."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_core.errors import Unauthenticated
from aiinfra_core.http_api.access import certificates, peers

VALID = {"notBefore": "Jan  1 00:00:00 2020 GMT", "notAfter": "Jan  1 00:00:00 2120 GMT"}


def _subject(*parts: Any, **more: Any) -> str:
    return certificates.of_connection({"subject": tuple(parts), **VALID, **more}).subject


def test_a_subject_is_written_in_the_order_of_rfc_4514_and_without_any_letter_that_could_mislead() -> None:
    assert _subject((("countryName", "DE"),), (("organizationName", "A Corp"),), (("commonName", "ci"),)) == "CN=ci,O=A%20Corp,C=DE"
    assert _subject((("commonName", "a,O=Other+x=y%2C"),)) == "CN=a%2CO%3DOther%2Bx%3Dy%252C"
    assert _subject((("commonName", "ci"), ("userId", "7"))) == "CN=ci+UID=7"
    assert _subject((("commonName", "ä\n\0"),)) == "CN=%C3%A4%0A%00"
    assert _subject(subjectAltName=(("DNS", "a.example"), ("URI", "spiffe://a/b"))) == "URI=spiffe://a/b"


words = st.text(min_size=1, max_size=20)
subjects = st.lists(st.lists(st.tuples(st.sampled_from(["commonName", "organizationName"]), words), min_size=1, max_size=2), min_size=1)


@settings(deadline=None)
@given(subjects, subjects)
def test_two_subjects_are_never_written_alike(one: Any, other: Any) -> None:
    first, second = (tuple(tuple(part) for part in parts) for parts in (one, other))
    assert (_subject(*first) == _subject(*second)) == (first == second)


@pytest.mark.parametrize("names", [(), (("URI", "spiffe://a"), ("URI", "spiffe://b")), (("DNS", "a.example"),)])
def test_a_certificate_that_names_nobody_is_refused(names: Any) -> None:
    with pytest.raises(Unauthenticated, match="names nobody"):
        _subject(subjectAltName=names)


@pytest.mark.parametrize("times", [{"notAfter": "Jan  1 00:00:00 2021 GMT"}, {"notBefore": "Jan  1 00:00:00 2119 GMT"}])
def test_a_certificate_is_refused_once_it_is_out_of_its_time_though_the_connection_lives(times: Any) -> None:
    with pytest.raises(Unauthenticated, match="not valid today"):
        certificates.of_connection({"subject": ((("commonName", "ci"),),), **VALID, **times})


@settings(deadline=None)
@given(st.binary())
def test_no_header_of_a_proxy_crashes(value: bytes) -> None:
    for header in (value, b":" + value + b":", b"-----BEGIN CERTIFICATE-----" + value):
        with pytest.raises(Unauthenticated):
            certificates.of_header(header)


PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("host", "forwarded", "address"),
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.2.3.4", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2,,", "10.0.0.1"),
        ("2001:db8:1:2:3::4", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        (None, "198.51.100.1", "unknown"),
        ("", "198.51.100.1", "unknown"),
    ],
)
def test_an_address_is_believed_as_far_as_trusted_proxies_told_it(host: str | None, forwarded: str, address: str) -> None:
    assert peers.address_of(host, forwarded, PROXIES) == address


@settings(deadline=None)
@given(st.text(), st.text())
def test_whatever_a_stranger_forwards_they_keep_their_own_address(host: str, forwarded: str) -> None:
    assert peers.address_of("203.0.113.7", forwarded, PROXIES) == "203.0.113.7"
    peers.address_of(host, forwarded, PROXIES)
