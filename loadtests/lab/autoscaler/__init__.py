"""What does the autoscaler cost, and is each of its budgets met?

    python -m loadtests.lab autoscaler [--only SCENARIO] [--rounds N] [--seconds S] [--json]

One real autoscaler process follows a real API server, scrapes pods that exist, and is pushed stats over WebSockets;
what the kernel charged to its threads is compared with the budget. API server and command are one process, pods and
stat senders another: on two cores all three share them, so CPU time is meaningful and latency is an upper bound.

| module    | holds                                                        |
|-----------|--------------------------------------------------------------|
| scenarios | what is measured, how, against which budget                  |
| world     | the API server, the autoscaler as a process, its reactions   |
| fleet     | revisions in a settled state, as API objects                 |
| peers     | pods that answer scrapes, activators that push stats         |
| decisions | deciding by itself, in a process of its own                  |
"""

from loadtests.lab.autoscaler.command import main

__all__ = ["main"]
