"""Who may look at a debug port: programs on the same machine, and no web page that a browser there shows.

A page's request has the page's `Host`, also where its name was made to lead to a loopback address (DNS rebinding).
"""

import ipaddress

__all__ = ["is_loopback_host"]


def is_loopback_host(host: str) -> bool:
    """Whether a `Host` (name or address, perhaps a port) can only mean this machine."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
