"""Services that come, change, split and go on a whole local stack: what fails, what is left, what grows.

    python -m loadtests.lab churn [--seconds S] [--services N] [--rate R] [--json]

First there are as many Services as asked for, all Ready; then changes come at a fixed rate, under light traffic, and
whatever is deleted comes again. Clients ask those Services only that were Ready and are not being deleted. In the end
all are deleted, and nothing of theirs may be left: no object, no endpoint in Envoy, no process. Memory of each program
of the stack is compared between the end of the first third and the end.

| module    | holds                                               |
|-----------|-----------------------------------------------------|
| changes   | what happens to Services, and who asks them         |
| leftovers | objects, processes, clusters of Envoy; memory       |
"""

from loadtests.lab.churn.command import main

__all__ = ["main"]
