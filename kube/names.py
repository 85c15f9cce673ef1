"""Names of child objects, within the 63 characters that a DNS label has room for; and of resources.

Source: `knative.dev/pkg/kmeta/names.go`; spec control-plane.md 2.3; golden set `subset`, list `child_name`.
"""

import hashlib

__all__ = ["child_name", "plural_of"]

_LONGEST = 63
_MD5_DIGITS = 32
_PREFIX = _LONGEST - _MD5_DIGITS
"""What is left of the parent (or of parent and suffix) beside the 32 hexadecimal digits of the sum."""


def child_name(parent: str, suffix: str) -> str:
    """Return `parent + suffix`, shortened with an MD5 sum of what was cut off where that is longer than 63 characters.

    The same parent and suffix always give the same name, so children are found again without a label.
    """
    if len(parent) + len(suffix) <= _LONGEST:
        return parent + suffix
    if len(suffix) < _PREFIX:
        return parent[: _PREFIX - len(suffix)] + _md5(parent) + suffix
    name = parent[:_PREFIX] + _md5(parent + suffix)
    if len(parent) < _PREFIX:
        name += suffix[: _LONGEST - len(name)]
    return _without_trailing_punctuation(name)


def plural_of(kind: str) -> str:
    """The resource that is guessed for a kind where nobody asks the API, as `meta.UnsafeGuessKindToResource` does."""
    name = kind.lower()
    if name.endswith("endpoints"):
        return name
    if name.endswith("s"):
        return name + "es"
    return name[:-1] + "ies" if name.endswith("y") else name + "s"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _without_trailing_punctuation(name: str) -> str:
    end = len(name)
    while end and not (name[end - 1].isascii() and name[end - 1].isalnum()):
        end -= 1
    return name[:end]
