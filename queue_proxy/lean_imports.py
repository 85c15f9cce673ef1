"""Puts off what asyncio and uvloop import and a queue-proxy does not use. Call `postpone` before either is imported.

A quarter of the time from exec to an accepting port, and 5 MB, go into `ssl`, `inspect` and a few modules that only
tracebacks need. Each gets a stand-in in `sys.modules` (`proxies.postponed`).

uvloop looks some names up while it is imported; those the stand-ins have. With `ssl` that is for good: uvloop keeps the
classes that it finds, so that its TLS does not work with a stand-in's. Where the environment names anything of TLS,
`ssl` is therefore left alone.
"""

import gc
from collections.abc import Mapping
from os.path import exists, join
from typing import Final

from proxies.postponed import stand_in, stand_in_for_inspection

__all__ = ["postpone", "wants_tls"]

_CERTIFICATES: Final = "/var/lib/knative/certs"
"""Where the controller mounts it (spec queue-proxy.md 2.4)."""


def postpone(environ: Mapping[str, str]) -> None:
    """Put the stand-ins in place, except for modules that are loaded already, and let the garbage collector rest.

    What is made at import stays: looking for what does not costs 3 ms. `App.start` enables it again.
    """
    gc.disable()
    stand_in_for_inspection()
    if not wants_tls(environ):
        stand_in("ssl", **_ssl_names())


def wants_tls(environ: Mapping[str, str]) -> bool:
    """Whether `environ` or the certificate that the controller mounts hints at TLS: rather once too often.

    A collector that is pushed to (`http/protobuf`) is spoken to over TLS where its address has no scheme. A readiness
    probe says `"HTTPS"`, in any case.
    """
    return exists(join(environ.get("KNUV_CERTIFICATES", _CERTIFICATES), "tls.crt")) or any(
        (value and "_TLS_" in name and name != "QUEUE_SERVING_TLS_PORT")
        or any(hint in value.lower() for hint in ("https:", '"https"'))
        or "protobuf" in value
        for name, value in environ.items()
    )


def _ssl_names() -> dict[str, object]:
    """What uvloop takes from `ssl` at import (uvloop/includes/stdlib.pxi). Nobody raises or makes one of these."""
    error = type("SSLError", (OSError,), {})
    names: dict[str, object] = {"SSLError": error, "create_default_context": None}
    for name in ("SSLWantReadError", "SSLSyscallError", "SSLZeroReturnError", "CertificateError"):
        names[name] = type(name, (error,), {})
    for name in ("SSLContext", "MemoryBIO"):
        names[name] = type(name, (), {})
    return names | {"SSL_ERROR_WANT_READ": 2, "SSL_ERROR_WANT_WRITE": 3, "SSL_ERROR_SYSCALL": 5}
