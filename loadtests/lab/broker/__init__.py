"""What do ingress, filter and dispatcher cost for an event, and is each of their budgets met?

    python -m loadtests.lab broker [--only SCENARIO] [--rounds N] [--seconds S] [--json]

Real processes follow a real API server. For what one of them costs, that one has a core of its own (and so has nginx,
which posts the same request on, as the measure of the machine); for the whole path all of them and load and subscriber
share both cores.

| module          | holds                                           |
|-----------------|-------------------------------------------------|
| scenarios       | what is measured, how, against which budget     |
| jetstream       | the same on NATS JetStream                      |
| neighbours      | one Trigger beside another that misbehaves      |
| bad_subscribers | what can be done wrong                          |
| world           | the API server, its objects, the processes      |
| traffic         | who sends events, and who gets them             |
"""

from loadtests.lab.broker.command import main

__all__ = ["main"]
