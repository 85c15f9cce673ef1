"""What does the activator cost, and is each of its budgets met?

    python -m loadtests.lab activator [--only SCENARIO] [--rounds N] [--seconds S] [--json]

Real activator processes follow a real API server; one core is theirs (and nginx's, the rival's), API server, load and
pods share the other.

| module    | holds                                              |
|-----------|----------------------------------------------------|
| scenarios | what is measured, how, against which budget        |
| world     | the API server, its objects, activators, the rival |
| pods      | pods that answer probes and count what they have   |
"""

from loadtests.lab.activator.command import main

__all__ = ["main"]
