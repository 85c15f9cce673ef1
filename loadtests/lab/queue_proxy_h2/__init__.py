"""What does queue-proxy cost on HTTP/2 and gRPC, and is each of its budgets met?

    python -m loadtests.lab queue-proxy-h2 [--against nghttpx] [--against CMD] [--only SCENARIO] [--json]

Made like `queue-proxy`, the benchmark of HTTP/1.1, and with its parts: the proxy has one core to itself, load and app
share the other, rounds alternate between the proxies, CPU time is what the kernel charged to the proxy's threads.
The load is cheaper than any proxy: h2load and nghttpd, both in C, or frames that are made beforehand. Where grpcio is
asked for it costs more than the proxy, so only the proxy's own CPU time counts there.

| module     | holds                                                        |
|------------|--------------------------------------------------------------|
| scenarios  | what is measured, how, against which budget                  |
| programs   | nghttpx as rival, nghttpd as app, h2load as load             |
| wire       | frames, and the two ends of a connection that speak in them  |
| calls      | grpcio as client and as app                                  |
| handshakes | a certificate, and connections in TLS                        |
| command    | the command line                                             |
"""

from loadtests.lab.queue_proxy_h2.command import main

__all__ = ["main"]
