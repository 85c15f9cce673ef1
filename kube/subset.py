"""Consistent choice of a few members out of a set, so that every process chooses the same ones without talking.

Members lie on a ring of 2048 places, where the target's own hash says where to start and how far to step. A member that
joins or leaves moves few choices. It decides which activators stand before a revision (ServerlessService
`numActivators`) and which bucket, and so which autoscaler replica, owns a revision.

Source: `knative.dev/pkg/hash/hash.go`, `bucketer.go`; spec autoscaler.md 8.4; golden set `subset`.
"""

from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["bucket_names", "bucket_owner", "choose_subset", "fnv1a_64"]

_RING = 2048
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_UINT64 = (1 << 64) - 1


def choose_subset(members: Iterable[str], n: int, target: str) -> frozenset[str]:
    """Return the `n` members that belong to `target`; all of them when there are no more than `n`.

    O(members x length of names); callers choose when the set changes, not per request.
    """
    ordered = sorted(set(members))
    if n >= len(ordered):
        return frozenset(ordered)
    by_angle = _ring(ordered, target)
    angles = sorted(by_angle)
    angle = fnv1a_64(f"{target}start-angle-salt".encode()) % _RING
    step = fnv1a_64(f"{target}step-angle-salt".encode()) % _RING
    chosen: set[int] = set()
    while len(chosen) < n:
        index = bisect_left(angles, angle) % len(angles)
        while index in chosen:
            index = (index + 1) % len(angles)
        chosen.add(index)
        angle = (angle + step) % _RING
    return frozenset(by_angle[angles[index]] for index in chosen)


def bucket_names(total: int) -> list[str]:
    """Return the names of the autoscaler's `total` buckets, which are also those of their Leases."""
    return [f"autoscaler-bucket-{ordinal:02d}-of-{total:02d}" for ordinal in range(total)]


def bucket_owner(buckets: Iterable[str], key: str) -> str:
    """Return the bucket that owns `key` (`namespace/name`). Raises `ValueError` when there is no bucket."""
    (owner,) = choose_subset(buckets, 1, key)
    return owner


def fnv1a_64(data: bytes) -> int:
    """The 64 bit FNV-1a hash."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & _UINT64
    return value


def _ring(ordered: list[str], target: str) -> dict[int, str]:
    """Return angle -> member. A taken place is left by hashing again with the hash so far appended in hexadecimal."""
    by_angle: dict[int, str] = {}
    for member in ordered:
        hashed = f"{member}{target}".encode()
        value = fnv1a_64(hashed)
        while value % _RING in by_angle:
            hashed += f"{value:x}".encode()
            value = fnv1a_64(hashed)
        by_angle[value % _RING] = member
    return by_angle
