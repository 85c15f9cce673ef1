"""What does queue-proxy cost on HTTP/1.1, and is each of its budgets met?

    python -m loadtests.lab queue-proxy [--against nginx] [--against CMD] [--only SCENARIO] [--json]
    python -m loadtests.lab queue-proxy --imports

The proxy under test has one core to itself; load and app are one process, this one, on the other core. Each round
starts a fresh process, warms it up and measures it; rounds alternate between the proxies (A B A B), and the medians
are compared. CPU time is what the kernel charged to the proxy's threads (`/proc/<pid>/task/*/schedstat`), so that a
figure does not depend on how fast the load is. queue-proxy runs with everything on: breaker, timers, stats, request
metrics, forwarded headers.

| module     | holds                                                                |
|------------|----------------------------------------------------------------------|
| scenarios  | what is measured, how, against which budget                          |
| clients    | load: closed loop, constant arrivals, streams, large bodies, bursts  |
| apps       | what stands behind the proxy                                         |
| subjects   | the proxies that are compared, as processes                          |
| machine    | cores, CPU time, memory                                              |
| figures    | medians, budgets, verdicts                                           |
| imports    | where the time of a start goes                                       |
| report     | tables and JSON                                                      |
"""

from loadtests.lab.queue_proxy.command import main

__all__ = ["main"]
