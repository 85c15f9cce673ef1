"""Keeps glibc's heap from growing: large blocks go back to the system when they are freed, whatever was freed before.

glibc raises the size from which it gives blocks mappings of their own each time such a block is freed. A proxy that
once held a large message then has all later ones on its heap, between small blocks that stay, and the heap grows to
several times what is used (docs/decisions/0009).
"""

import sys
from typing import Final

__all__ = ["keep_heap_compact"]

_TRIM_THRESHOLD_PARAMETER: Final = -1
_TRIM_THRESHOLD_BYTES: Final = 1024 * 1024
"""Free bytes at the end of the heap that may stay there: less, and each large read would move the end twice."""
_MMAP_THRESHOLD_PARAMETER: Final = -3
_MMAP_THRESHOLD_BYTES: Final = 256 * 1024
"""Above what the loop reads at a time, 256,000 bytes: a mapping for each read halves the speed of large bodies."""


def keep_heap_compact() -> None:
    """Hold glibc's threshold where it is; nothing happens with another C library.

    Loads `ctypes`, some milliseconds and 0.3 MB: call it when the process serves already.
    """
    if sys.platform != "linux":
        return
    import ctypes

    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is not None:  # musl has none, and needs none
        set_parameter(_MMAP_THRESHOLD_PARAMETER, _MMAP_THRESHOLD_BYTES)
        set_parameter(_TRIM_THRESHOLD_PARAMETER, _TRIM_THRESHOLD_BYTES)
