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
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


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
    stand_in("inspect", isgenerator=_is_generator, iscoroutinefunction=_is_coroutine_function)


def _is_generator(value: object) -> bool:
    return isinstance(value, GeneratorType)


def _is_coroutine_function(value: object) -> bool:
    """`inspect.iscoroutinefunction`; uvloop asks it about signal handlers, asyncio about others' functions."""
    while isinstance(value, MethodType):
        value = value.__func__
    while isinstance(value, partial):
        value = value.func
    return isinstance(value, FunctionType) and bool(value.__code__.co_flags & _CO_COROUTINE)
