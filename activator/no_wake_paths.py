"""Paths whose requests are answered 503 while there is no pod, instead of asking for one. Opt-in by annotation."""

from typing import Final

__all__ = ["NO_WAKE_PATHS", "NoWakePaths"]

NO_WAKE_PATHS: Final = "serving.knuv.dev/no-wake-paths"
"""Annotation of a Revision: paths that are not worth a cold start, as `/favicon.ico, /metrics, /.well-known/*`."""


class NoWakePaths:
    """The paths of one revision."""

    __slots__ = ("_paths", "_prefixes")

    def __init__(self, paths: frozenset[bytes], prefixes: tuple[bytes, ...]) -> None:
        self._paths = paths
        self._prefixes = prefixes

    @classmethod
    def read(cls, text: str) -> "NoWakePaths | None":
        """Read paths between commas; one that ends in `*` is a prefix. None when there are none."""
        given = [path.strip().encode() for path in text.split(",") if path.strip()]
        if not given:
            return None
        return cls(
            frozenset(path for path in given if not path.endswith(b"*")),
            tuple(path[:-1] for path in given if path.endswith(b"*")),
        )

    def matches(self, target: bytes) -> bool:
        """Whether the path of a request's target is one of these; the query plays no role."""
        path = target.partition(b"?")[0]
        return path in self._paths or path.startswith(self._prefixes)
