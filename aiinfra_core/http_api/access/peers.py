"""From which address a request comes, seen through the proxies that are trusted to say so.

Addresses bound how often somebody may ask; they never prove who somebody is.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Networks = Sequence[IPv4Network | IPv6Network]
UNKNOWN = "unknown"  # a Unix socket, or an address nobody can read
_HOME_NETWORK_BITS = 64  # one IPv6 customer has at least so many addresses


@lru_cache(maxsize=4096)
def is_one_of(host: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Say whether an address lies in one of these networks."""
    address = _address(host)
    return address is not None and any(address in network for network in networks)


def address_of(host: str | None, forwarded_for: str | None, trusted: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """Return who asks as one address, or as the network of an IPv6 customer.

    Args:
        host: the other end of the connection.
        forwarded_for: the value of X-Forwarded-For, believed only as far as trusted proxies wrote it.
        trusted: the networks of the proxies.
    """
    seen = host or UNKNOWN
    for told in reversed((forwarded_for or "").split(",")):
        if not is_one_of(seen, trusted) or _address(told.strip()) is None:
            break
        seen = told.strip()
    return _shared(seen)


@lru_cache(maxsize=4096)
def _shared(host: str) -> str:
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _HOME_NETWORK_BITS), strict=False))
    return UNKNOWN if address is None else str(address)


def _address(host: str) -> object:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
