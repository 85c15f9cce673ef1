"""Load as users make it, by locust: against any gateway, or by `make loadtest SCENARIO=...` against a local stack.

    locust -f loadtests/locust/burst.py --host http://GATEWAY --virtual-host hello.default.example.com --headless -t 60s

| file           | load                                                                                  |
|----------------|---------------------------------------------------------------------------------------|
| cold_start.py  | one request to each service that has no pod, in turn or (`--storm`) all at once        |
| burst.py       | 0 to 300 users within a second                                                        |
| ramp.py        | arrivals in three steps, from 100 to 300 a second or `--rate` and its multiples        |
| steady.py      | constant arrivals, a new revision in the middle                                       |
| trickle.py     | a burst, then one request every two seconds while pods go away                        |
| grpc_calls.py  | unary calls and streams                                                               |
| websocket.py   | conversations over WebSockets                                                         |
| sse.py         | event streams that stay open                                                          |
| cloud_events.py| events to a Broker                                                                    |

Where latency is the question, arrivals are open: they come when they are due, whatever the answers do, and the time
counts from the moment at which a request should have been sent. What is under way at the end is waited for
(`--stop-timeout`, 30 s), and what has no answer then has failed. A run in which locust itself had no processor time
left, be it in its busiest five seconds, ends with exit code 3 and the word INVALID.
"""
