"""Keeps from aiohttp what an activator's client of the API does not use: 3 MB, and 40 ms of a start.

While it is imported, aiohttp makes a TLS context with all certificates of the system, though every session here brings
its own, and loads `urllib.request`, which reads proxies from the environment for sessions that ask for it. None does.
"""

import ssl
import sys
from types import ModuleType
from typing import Any, Final

__all__ = ["import_aiohttp"]

_PROXIES: Final = "urllib.request"


def import_aiohttp() -> None:
    """Import it, unless that has been done. The context that it keeps for itself trusts nobody."""
    placeholder = ModuleType(_PROXIES)
    placeholder.__dict__.update(getproxies=dict, proxy_bypass=_is_never_bypassed)
    has_proxies = _PROXIES in sys.modules
    if not has_proxies:
        sys.modules[_PROXIES] = placeholder
    made, ssl.create_default_context = ssl.create_default_context, _untrusting_context
    try:
        import aiohttp as _aiohttp
    finally:
        ssl.create_default_context = made
        if not has_proxies:
            # Whoever imports it later gets the real one.
            del sys.modules[_PROXIES]
    del _aiohttp


def _untrusting_context(*_arguments: Any, **_options: Any) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_never_bypassed(_host: str) -> bool:
    return False
