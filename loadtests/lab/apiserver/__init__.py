"""What does the local API server cost, and is each of its budgets met?

    python -m loadtests.lab apiserver [--only SCENARIO] [--rounds N] [--seconds S] [--json]

One server process, on a core of its own where there is one, keeps 5,000 ConfigMaps; 200 watches follow them over TLS
and 16 connections write merge patches. What the kernel charged to the server is compared with what it got done, so
that others at work on the machine spoil latencies but not the capacity. Latencies count only where others used next to
nothing of the server's core, which is told beside them. Then whole stacks, in both networks: until `knuv up` is ready,
until a pod's process is there, and memory.

| module    | holds                                           |
|-----------|-------------------------------------------------|
| scenarios | what is measured, how, against which budget     |
| stacks    | whole stacks: readiness, pod starts, memory     |
| served    | the server as a process                         |
| clients   | watches and writers on bare TLS connections     |
| command   | the command line                                |
"""

from loadtests.lab.apiserver.command import main

__all__ = ["main"]
