"""The static table of HPACK (RFC 7541 appendix A)."""

from typing import Final

__all__ = ["NAME_INDEX", "PAIRS", "PAIR_INDEX"]

_NAMES: Final = (
    b"accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age"
    b"|allow|authorization|cache-control|content-disposition|content-encoding|content-language|content-length"
    b"|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since"
    b"|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate"
    b"|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|strict-transport-security"
    b"|transfer-encoding|user-agent|vary|via|www-authenticate"
)

PAIRS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"", b""),
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    *((b":status", status) for status in (b"200", b"204", b"206", b"304", b"400", b"404", b"500")),
    *((name, value) for name, _, value in (entry.partition(b"=") for entry in _NAMES.split(b"|"))),
)
"""Name and value by index. Index 0 is not used by the format; it stands here so that the others fit."""

PAIR_INDEX: Final = {pair: index for index, pair in enumerate(PAIRS) if pair[1]}
"""Index by name and value, for entries that have a value."""

NAME_INDEX: Final = {pair[0]: index for index, pair in reversed(list(enumerate(PAIRS))) if index}
"""The lowest index by name."""
