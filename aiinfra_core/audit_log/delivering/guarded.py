"""Where a webhook may lead: to addresses of the open internet, and to networks somebody allowed; never by a name alone.

A name is resolved once, every address it has is looked at, and the connection goes to one that was looked at: what the name means a moment
later changes nothing. Redirects and proxies are not followed, which is `outbound`'s business.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiinfra_core import outbound
from aiinfra_core.errors import Unavailable

Address = IPv4Address | IPv6Address
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(IPv6Network(network) for network in ("::/96", "64:ff9b:1::/48", "fec0::/10"))
"""IPv4-compatible, NAT64 of a site's own and site-local: retired or private, and `ipaddress` calls some of them global."""


def address_of(part: str, host: str, port: int, allowed: Sequence[IPv4Network | IPv6Network], seconds: float) -> str:
    """Return the address to connect to.

    Raises:
        Unavailable: the name has none, or one where no webhook may lead; what was meant is not told to whoever configured it.
    """
    found = _resolved(part, host, port, seconds)
    if any(not _may_be_reached(address, allowed) for address in found):
        raise Unavailable(
            part, f"{host} is in a network where no webhook may lead; if it should, list the network in AI_INFRA_NOTIFY_NETWORKS."
        )
    return str(found[0])


def _resolved(part: str, host: str, port: int, seconds: float) -> list[Address]:
    try:
        answers = outbound.within(seconds, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, TimeoutError, UnicodeError):
        raise Unavailable(part, f"{host} has no address; check the name.") from None
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


def _may_be_reached(address: Address, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    if any(address in network for network in allowed):
        return True
    inner = _carried(address)
    if inner is not None:
        return _may_be_reached(inner, allowed)
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


def _carried(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that one of IPv6 leads to, if it is of a kind that does."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
