"""The certificate that the controller mounts: whether there is one, and following it while the process runs.

Kubernetes replaces mounted Secrets by switching a link, so both files change at once; what is read between two other
changes does not fit together, is told once, and read again when it changes.

Source: spec queue-proxy.md 15.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Final

from proxies.logs import Logger

if TYPE_CHECKING:
    from ssl import SSLContext

    from proxies.tls import TlsSettings

__all__ = ["DIRECTORY", "Certificate", "files_in"]

DIRECTORY: Final = "/var/lib/knative/certs"
"""Where the controller mounts it (spec queue-proxy.md 2.4)."""
_CHECK_S: Final = 2.0
"""The original reads the files each minute. To ask whether they changed costs nothing, so it is asked more often."""


def files_in(directory: str) -> tuple[str, str]:
    """Return the paths of certificate and key."""
    return os.path.join(directory, "tls.crt"), os.path.join(directory, "tls.key")


class Certificate:
    """The two files of one directory."""

    def __init__(self, directory: str, settings: "TlsSettings", logger: Logger) -> None:
        self._paths = files_in(directory)
        self._settings = settings
        self._logger = logger
        self._context: SSLContext
        self._seen: tuple[tuple[int, ...], ...] = ()
        self._pair: tuple[bytes, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> "SSLContext":
        """Return the context that shows it, and follow the files from now on.

        Raises `ValueError` and `OSError` for files that cannot be used.
        """
        from proxies.tls import server_context

        self._seen = self._look()
        self._pair = self._read()
        try:
            self._context = server_context(self._settings, *self._pair)
        except ValueError as error:
            raise ValueError(f"{self._paths[0]}, {self._paths[1]}: {error}") from error
        self._timer = loop.call_later(_CHECK_S, self._check, loop)
        return self._context

    def stop(self) -> None:
        """Follow the files no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_CHECK_S, self._check, loop)
        try:
            seen = self._look()
            if seen == self._seen:
                return
            self._seen = seen
            pair = self._read()
            if pair == self._pair:
                return
            from proxies.tls import load_pair

            load_pair(self._context, *pair)
        except (OSError, ValueError) as error:
            self._logger.error("certificate_kept", problem=str(error), files=list(self._paths))
        else:
            self._pair = pair
            self._logger.info("certificate_replaced", files=list(self._paths))

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes when a file does; nothing while one cannot be found."""
        try:
            found = [os.stat(path) for path in self._paths]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = map(_content_of, self._paths)
        return certificate, key


def _content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
