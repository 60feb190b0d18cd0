"""What a network address says of whoever has it."""

import ipaddress


def network_of(address: str) -> str:
    """The address, or of IPv6 its /64: a household has that many at its choice."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
