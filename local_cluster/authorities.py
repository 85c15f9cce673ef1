"""How the stack, and those of its programs that load aiohttp, come to the machine's certificate authorities: by name.

aiohttp makes a TLS context with all of them as it is imported, which takes 35 ms and 1.6 MB, and nearly always serves
nobody: the stack has an authority of its own. OpenSSL searches a folder of hashed names only when it has
a certificate to verify; so where the machine's folder has all authorities, the bundle of them is left out.
"""

import os
import re
import ssl
from functools import cache
from pathlib import Path

__all__ = ["authority_variables"]

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""A hash of the authority's name and a number, as `openssl rehash` makes them."""
_PATHS = ssl.get_default_verify_paths()


@cache
def authority_variables(
    bundle: Path = Path(_PATHS.openssl_cafile), folder: Path = Path(_PATHS.openssl_capath)
) -> dict[str, str]:
    """Variables for a program's environment; none where the folder has fewer authorities than the bundle."""
    try:
        bundled = bundle.read_bytes().count(b"-----BEGIN CERTIFICATE-----")
        hashed = sum(_HASHED.fullmatch(entry.name) is not None for entry in folder.iterdir())
    except OSError:
        return {}
    return {"SSL_CERT_FILE": os.devnull} if hashed >= bundled else {}
