"""What our own writes mean for the informers' copies, before the watch tells.

A controller that decides by its copy must know what it just did, or it does it twice. Two means: the answer to a write
is taken into the copy (`take_in`), and pods that were asked for are remembered until they are seen (`Expectations`).
"""

from collections.abc import Callable
from typing import TypeVar

from kube.informer import Informer
from kube.models.meta import Resource

__all__ = ["Expectations", "take_in"]

R = TypeVar("R", bound=Resource)

_EXPECTED_S = 10.0
"""After that the copy is right and our memory is wrong."""


def take_in(informer: Informer[R], obj: R) -> None:
    """Take the answer to a patch into the copy, unless the object is not in it: then it was deleted meanwhile."""
    held = informer.get(obj.namespace, obj.name)
    if held is not None and held.metadata.uid == obj.metadata.uid:
        informer.apply_local(obj)


class Expectations:
    """Names that were created or deleted for one owner and not seen yet. Times in seconds of any steady clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._creating: dict[str, float] = {}
        self._deleting: dict[str, float] = {}

    def creates(self, name: str) -> None:
        """The object is about to be created."""
        self._creating[name] = self._clock() + _EXPECTED_S

    def deletes(self, name: str) -> None:
        """The object is about to be deleted."""
        self._deleting[name] = self._clock() + _EXPECTED_S

    def seen(self, name: str) -> None:
        """The object appeared in the copy; or its creation failed."""
        self._creating.pop(name, None)

    def leaving(self, name: str) -> None:
        """The object went from the copy or is marked as deleted; or its deletion failed."""
        self._deleting.pop(name, None)

    def creating(self) -> int:
        """How many are on their way."""
        return self._live(self._creating)

    def is_deleting(self, name: str) -> bool:
        """Whether that object is on its way out."""
        self._live(self._deleting)
        return name in self._deleting

    def _live(self, names: dict[str, float]) -> int:
        now_s = self._clock()
        for name in [name for name, until_s in names.items() if until_s <= now_s]:
            del names[name]
        return len(names)
