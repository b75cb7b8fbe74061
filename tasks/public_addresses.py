"""Which addresses are public: those of the internet without IANA's special-purpose ranges.

Python's ``is_global`` is not used: its table is another one in each release, and so would be the answer.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What is not public. The IANA IPv4 and IPv6 Special-Purpose Address Registries, as of 2025, and multicast. Ranges
#: that those registries call globally reachable are in it too: they hold relays and anycast services, not web servers.
SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared by a carrier's customers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "168.63.129.16/32",  # of Azure's hosts, for their virtual machines only; not in the registry
        "169.254.0.0/16",  # link-local, and the metadata of clouds (RFC 3927)
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890), with 192.0.0.8, 192.0.0.170 and the anycasts
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 1112)
        "240.0.0.0/4",  # reserved (RFC 1112), with the broadcast address
        # All that is not global unicast (RFC 4291): loopback, v4-compatible and v4-mapped addresses, local NAT64
        # (64:ff9b:1::/48), discard-only, 5f00::/16, unique local, link-local, site-local, multicast.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # IETF protocol assignments (RFC 2928), with Teredo
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4, any IPv4 address (RFC 3056)
        "2620:4f:8000::/48",  # AS112 (RFC 7534)
        "3fff::/20",  # documentation (RFC 9637)
    )
)

#: An IPv4 address by way of a translator, which is as public as that address (RFC 6052).
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Tell whether an address, or the IPv4 address that a NAT64 translates it to, is public."""
    if address in NAT64:
        address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return not any(address in network for network in SPECIAL)
