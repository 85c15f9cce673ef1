"""Puts off what libraries import and a service on the API does not use. Call `postpone` before all other imports.

Each gets a stand-in (`proxies.postponed`). Together they are 4 MB of a service that speaks WebSocket, 1.5 MB of others
(docs/decisions/0006).
"""

import typing

from proxies.postponed import stand_in, stand_in_for_inspection

__all__ = ["postpone"]


def postpone() -> None:
    """Put the stand-ins in place, except for modules that are loaded already."""
    stand_in_for_inspection()
    # msgspec and grpcio prefer it where it is installed, for what typing has since 3.11.
    names = ("NotRequired", "Required", "Self", "get_type_hints")
    stand_in("typing_extensions", **{name: getattr(typing, name) for name in names})
    # websockets: its version is in its metadata where it is not released; proxies are named by the environment, which
    # nobody asks. They bring `email`, `zipfile`, `http.client` and `tempfile`.
    stand_in("importlib.metadata")
    stand_in("urllib.request")
