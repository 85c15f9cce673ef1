"""A page for people who would otherwise look at an empty window while a pod starts: it loads itself again each second.

Opt-in by annotation. It is a 503, so that nothing takes it for the app's own; each load counts as a request and keeps
the revision wanted.
"""

from typing import Final

from proxies.messages import Answer, RequestHead

__all__ = ["WAITING_PAGE", "wants_page"]

_HTML: Final = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<meta name="viewport" content="width=device-width">
<title>Starting</title>
<style>body { font: 1.2em sans-serif; text-align: center; margin-top: 30vh; color-scheme: light dark }</style>
</head>
<body><p>This service is starting. The page appears as soon as it is ready.</p></body>
</html>
"""

WAITING_PAGE: Final = Answer(
    503,
    _HTML,
    content_type=b"text/html; charset=utf-8",
    fields=((b"Cache-Control", b"no-store"), (b"Retry-After", b"1")),
)


def wants_page(request: RequestHead) -> bool:
    """Whether a browser asks for a document; what scripts fetch, or what is not a GET, must not be loaded again."""
    if request.method != b"GET" or b"text/html" not in request.get(b"accept"):
        return False
    return request.get(b"sec-fetch-dest") in (b"", b"document")
