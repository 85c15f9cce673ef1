"""Generated names: a prefix and five characters that cannot form words, as Kubernetes makes them."""

import random

__all__ = ["generated_name"]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_PREFIX_MAX = 58


def generated_name(prefix: str) -> str:
    """`prefix` (cut so that the name stays a DNS label) and five random characters."""
    return prefix[:_PREFIX_MAX] + "".join(random.choices(_ALPHABET, k=5))
