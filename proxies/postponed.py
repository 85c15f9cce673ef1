"""Modules that are imported when they are first asked for anything, though others import them at once.

    stand_in("inspect")
    import inspect          the stand-in: nothing happens
    inspect.signature(f)    the real module is loaded, takes the stand-in's place, and fills it for those who hold it

For what large modules import and our programs hardly ever use (docs/decisions/0006). Names that are looked up at import
are given to the stand-in, or there is no point in it.
"""

import importlib
import sys
from functools import partial
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Final

__all__ = ["Postponed", "stand_in", "stand_in_for_inspection"]

_CO_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`."""


class Postponed(ModuleType):
    """Stands for a module until it is asked for an attribute that it lacks."""

    def __getattr__(self, name: str) -> object:
        # The import machinery asks every module for `__path__` and the like; that is no use of it.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(_real(self), name)


def _real(module: ModuleType) -> ModuleType:
    """The module that a stand-in stands for, which has its place from now on."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
    real = importlib.import_module(module.__name__)
    module.__dict__.update(real.__dict__)
    return real


def stand_in(name: str, **attributes: object) -> None:
    """Put a stand-in in a module's place, unless that is loaded already. `attributes`: what it has itself."""
    if name in sys.modules:
        return
    module = Postponed(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module
    package, _, own_name = name.rpartition(".")
    if package:
        setattr(importlib.import_module(package), own_name, module)


def stand_in_for_inspection() -> None:
    """Stand-ins for `inspect`, which brings `ast`, `dis` and `tokenize`, and for what only tracebacks need."""
    for name in ("linecache", "locale", "textwrap"):
        stand_in(name)
    stand_in(
        "inspect",
        isgenerator=_is_generator,
        iscoroutinefunction=_is_coroutine_function,
        get_annotations=_get_annotations,
    )


def _is_generator(value: object) -> bool:
    return isinstance(value, GeneratorType)


def _is_coroutine_function(value: object) -> bool:
    """`inspect.iscoroutinefunction`; uvloop asks it about signal handlers, asyncio about others' functions."""
    while isinstance(value, MethodType):
        value = value.__func__
    while isinstance(value, partial):
        value = value.func
    return isinstance(value, FunctionType) and bool(value.__code__.co_flags & _CO_COROUTINE)


def _get_annotations(value: object, **how: object) -> object:
    """`inspect.get_annotations`; from Python 3.12 on dataclasses ask it about themselves."""
    if isinstance(value, type) and not how:
        return dict(getattr(value, "__annotations__", {}))
    inspect = sys.modules["inspect"]
    return (_real(inspect) if isinstance(inspect, Postponed) else inspect).get_annotations(value, **how)
