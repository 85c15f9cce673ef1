"""Where requests are sent that have waited too long for a pod, if their revision says so: 307 to another URL.

Opt-in by annotation. A redirect and not a second upstream, so that the activator connects to pods only, whatever an
annotation says. 307 keeps the method and makes the client send its body there itself (RFC 9110 15.4.8).
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from proxies.gotext import parse_duration_s
from proxies.messages import Answer, RequestHead

__all__ = ["FALLBACK_AFTER", "FALLBACK_URL", "Fallback"]

FALLBACK_URL: Final = "serving.knuv.dev/fallback-url"
"""Annotation of a Revision: `https://status.example.com` keeps path and query; a URL with a path stands for itself."""
FALLBACK_AFTER: Final = "serving.knuv.dev/fallback-after"
"""Annotation of a Revision: how long a request waits before that, as `5s`."""

_AFTER_S: Final = 5.0
_AFTER_MAX_S: Final = 600.0
"""`max-revision-timeout-seconds`, by default: no request waits longer."""
_URL_MAX: Final = 2048
_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:[/?#][!-;=?-~]*)?")
"""Without user information; `<`, `>` and everything beyond visible ASCII would have to be escaped."""


class Fallback:
    """After `after_s` requests are answered with the way to another URL."""

    __slots__ = ("_answer", "_location", "after_s")

    def __init__(self, url: str, after_s: float) -> None:
        """Raises `ValueError` for what is no URL, or for no time at all."""
        if len(url) > _URL_MAX or not _URL.fullmatch(url):
            raise ValueError(
                f"{FALLBACK_URL}: expected http:// or https:// with a host, at most {_URL_MAX} bytes, got {url[:100]!r}"
            )
        try:
            parts = urlsplit(url)
            is_host = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_host = False
        if not is_host:
            raise ValueError(f"{FALLBACK_URL}: expected a host and perhaps a port, got {url[:100]!r}")
        if not 0 < after_s <= _AFTER_MAX_S:
            raise ValueError(
                f"{FALLBACK_AFTER}: expected more than 0 and at most {_AFTER_MAX_S:.0f}s, got {after_s:g}s"
            )
        self.after_s = after_s
        self._location = url.encode()
        # With a path, the URL stands for itself.
        keeps_target = url.count("/") == 2 and not parts.query and not parts.fragment
        self._answer = None if keeps_target else _redirect(self._location)

    @classmethod
    def read(cls, annotations: Mapping[str, str]) -> "Fallback | None":
        """Read a revision's annotations; None where there is no URL. Raises `ValueError`, which says what is wrong."""
        url = annotations.get(FALLBACK_URL)
        if not url:
            return None
        after = annotations.get(FALLBACK_AFTER)
        try:
            after_s = parse_duration_s(after) if after else _AFTER_S
        except ValueError as error:
            raise ValueError(f"{FALLBACK_AFTER}: {error}") from error
        return cls(url, after_s)

    def answer(self, request: RequestHead) -> Answer:
        """Return what `request` is told."""
        if self._answer is not None:
            return self._answer
        target = request.target
        is_kept = target.startswith(b"/") and len(target) <= _URL_MAX
        return _redirect(self._location + (target if is_kept else b"/"))


def _redirect(location: bytes) -> Answer:
    return Answer(307, fields=((b"Location", location), (b"Cache-Control", b"no-store")))
