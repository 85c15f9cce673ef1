"""Ten minutes of gRPC through queue-proxy while its app comes and goes: no wrong answer, no stream left, no growth?

    python -m loadtests.lab soak-queue-proxy-h2 [--duration 600] [--seed N] [--json]

Callers of every kind (`callers`) talk through one queue-proxy of this tree to a gRPC app (`app`), over connections that
stay, one of them in TLS, and over ones that come and go. Many of them cancel, run out of time or hang up in the middle.
The app says GOAWAY on each connection every two seconds, and is restarted every few seconds (`restarts`), by turns
asked to end and killed.

A call may fail only when a restart of the app lies in its time. Every other one has to end as it must, byte for byte.

Verdict: no wrong answer; in the end no stream is left, neither in the app nor in the proxy's own count, nor a
connection; memory after the first minute flat within 1 MB.
"""

from loadtests.lab.soak_queue_proxy_h2.command import main

__all__ = ["main"]
