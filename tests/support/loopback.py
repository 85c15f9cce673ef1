"""Addresses of 127.0.0.0/8 for one world of a test, so that several worlds run side by side.

As with the subnets of local stacks (`local_cluster.subnet`), whoever holds a socket on a known port of a subnet's first
address owns it; the kernel gives that to one process only, and takes it back when the process ends. The two never meet:
stacks leave the second bytes alone that are used here.
"""

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loopback_subnet"]

_CLAIM_PORT = 19999
_SECOND_BYTES = range(250, 255)


@contextmanager
def loopback_subnet() -> Iterator[str]:
    """Yield the first three bytes, as `127.250.7`, of a /24 that nobody else has meanwhile; its .1 is taken."""
    while True:
        subnet = f"127.{random.choice(_SECOND_BYTES)}.{random.randrange(256)}"
        with socket.socket() as claim:
            try:
                claim.bind((f"{subnet}.1", _CLAIM_PORT))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            yield subnet
            return
