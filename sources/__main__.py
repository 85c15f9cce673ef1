"""`python -m sources ping | apiserver | jetstream [--disable-ha]`: one adapter as a process."""

import os
import sys
from collections.abc import Callable, Mapping

from kube.service import Service, run_service

__all__ = ["main"]

_USAGE = "usage: python -m sources ping|apiserver|jetstream [--disable-ha]\n"


def _ping(environ: Mapping[str, str], is_alone: bool) -> Service:
    from sources import ping

    return ping.App(ping.PingConfig.from_env(environ, is_alone=is_alone))


def _apiserver(environ: Mapping[str, str], is_alone: bool) -> Service:
    from sources import apiserver

    return apiserver.App(apiserver.ApiServerConfig.from_env(environ))


def _jetstream(environ: Mapping[str, str], is_alone: bool) -> Service:
    from sources import jetstream

    return jetstream.App(jetstream.JetStreamConfig.from_env(environ))


_SOURCES: Mapping[str, Callable[[Mapping[str, str], bool], Service]] = {
    "ping": _ping,
    "apiserver": _apiserver,
    "jetstream": _jetstream,
}
"""Each imports its program only when it runs. The flag says that nobody else may act; not all programs contend."""


def main(arguments: list[str]) -> int:
    """Run one adapter; the exit code."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if not argument.startswith("-")]
    make = _SOURCES.get(names[0]) if len(names) == 1 else None
    if make is None or any(flag.lstrip("-") != "disable-ha" for flag in flags):
        sys.stderr.write(_USAGE)
        return 2
    return run_service(names[0], lambda environ: make(environ, bool(flags)), os.environ)  # noqa: TID251 - the entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
