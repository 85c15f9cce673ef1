"""Puts off what asyncio and uvloop import and a queue-proxy does not use. Call `postpone` before either is imported.

A quarter of the time from exec to an accepting port, and 5 MB, go into `ssl`, `inspect` and a few modules that only
tracebacks need. Each gets a stand-in in `sys.modules`, which loads the real module when it is asked for anything that
it lacks:

    import inspect          the stand-in: nothing happens
    inspect.signature(f)    the real module is loaded, takes the stand-in's place, and fills it for those who hold it

uvloop looks some names up while it is imported; those the stand-ins have. With `ssl` that is for good: uvloop keeps the
classes that it finds, so that its TLS does not work with a stand-in's. Where the environment names anything of TLS,
`ssl` is therefore left alone.
"""

import gc
import importlib
import sys
from collections.abc import Mapping
from os.path import exists, join
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Final

__all__ = ["Postponed", "postpone", "wants_tls"]

_CERTIFICATES: Final = "/var/lib/knative/certs"
"""Where the controller mounts it (spec queue-proxy.md 2.4)."""
_CO_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`."""
_TRACEBACK_ONLY: Final = ("linecache", "locale", "textwrap")


class Postponed(ModuleType):
    """Stands for a module until it is asked for an attribute that it lacks."""

    def __getattr__(self, name: str) -> object:
        # The import machinery asks every module for `__path__` and the like; that is no use of it.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def postpone(environ: Mapping[str, str]) -> None:
    """Put the stand-ins in place, except for modules that are loaded already, and let the garbage collector rest.

    What is made at import stays: looking for what does not costs 3 ms. `App.start` enables it again.
    """
    gc.disable()
    for name in _TRACEBACK_ONLY:
        _stand_in(name)
    _stand_in("inspect", isgenerator=_is_generator, iscoroutinefunction=_is_coroutine_function)
    if not wants_tls(environ):
        _stand_in("ssl", **_ssl_names())


def wants_tls(environ: Mapping[str, str]) -> bool:
    """Whether `environ` or the certificate that the controller mounts hints at TLS: rather once too often.

    A collector that is pushed to (`http/protobuf`) is spoken to over TLS where its address has no scheme. A readiness
    probe says `HTTPS`.
    """
    return exists(join(environ.get("KNUV_CERTIFICATES", _CERTIFICATES), "tls.crt")) or any(
        (value and "_TLS_" in name and name != "QUEUE_SERVING_TLS_PORT")
        or "https:" in value
        or "HTTPS" in value
        or "protobuf" in value
        for name, value in environ.items()
    )


def _stand_in(name: str, **attributes: object) -> None:
    if name not in sys.modules:
        module = Postponed(name)
        module.__dict__.update(attributes)
        sys.modules[name] = module


def _is_generator(value: object) -> bool:
    return isinstance(value, GeneratorType)


def _is_coroutine_function(value: object) -> bool:
    """`inspect.iscoroutinefunction` for functions and methods; uvloop asks it about signal handlers."""
    if isinstance(value, MethodType):
        value = value.__func__
    return isinstance(value, FunctionType) and bool(value.__code__.co_flags & _CO_COROUTINE)


def _ssl_names() -> dict[str, object]:
    """What uvloop takes from `ssl` at import (uvloop/includes/stdlib.pxi). Nobody raises or makes one of these."""
    error = type("SSLError", (OSError,), {})
    names: dict[str, object] = {"SSLError": error, "create_default_context": None}
    for name in ("SSLWantReadError", "SSLSyscallError", "SSLZeroReturnError", "CertificateError"):
        names[name] = type(name, (error,), {})
    for name in ("SSLContext", "MemoryBIO"):
        names[name] = type(name, (), {})
    return names | {"SSL_ERROR_WANT_READ": 2, "SSL_ERROR_WANT_WRITE": 3, "SSL_ERROR_SYSCALL": 5}
