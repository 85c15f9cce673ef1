"""Which of two is better, by how much, and is the difference more than chance? One report for each question.

    python -m loadtests.lab compare --scenario queue-proxy-http1 --b nginx --out report
    python -m loadtests.lab compare --scenario cold-start --a ours --b 'queue-proxy=/opt/queue,activator=/opt/activator'

Both sides run on this machine in turns, A B B A, each run with fresh processes, so that whatever else the machine does
meets both. A figure of one run is one value; sides are compared by the medians of their runs, each with the interval
that the bootstrap gives for it (95 %). The report says that one side is better only where the intervals do not overlap.

| module     | holds                                                            |
|------------|------------------------------------------------------------------|
| command    | the command line, the alternation, progress                      |
| sides, references | what A and B are; nginx, Envoy and nghttpx                |
| scenarios  | the table of what can be asked                                   |
| proxies    | runs of one proxy between a load and an app                      |
| stacks     | a whole local stack with components swapped, and what is seen of it |
| zero, loads | runs of stacks: from zero pods; under a load that lasts         |
| app, usage | the app with 100 ms; memory and CPU time of a tree of processes  |
| model      | what a run gives                                                 |
| statistics, results | medians, intervals, verdicts; outcomes of gates         |
| page, charts | the report: one HTML file, pictures inside                     |
"""

from loadtests.lab.compare.command import main

__all__ = ["main"]
