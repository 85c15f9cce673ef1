"""Ten minutes of everything at once through queue-proxy: does it ever drop a request, or grow?

    python -m loadtests.lab soak-queue-proxy [--duration 600] [--json]

Visitors of many kinds (`visitors`) keep coming to an app (`app`) behind two queue-proxies of this tree: one with room
for all, where every request has to succeed, byte for byte, unless it is meant to time out; and one that runs a single
request at a time, where most of a crowd is refused. Visitors that leave in the middle only have to do no harm.

Verdict: no request dropped, and memory after the first minute flat within 1 MB.
"""

from loadtests.lab.soak_queue_proxy.command import main

__all__ = ["main"]
