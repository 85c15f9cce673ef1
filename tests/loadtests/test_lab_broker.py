"""What the broker is measured with."""

import asyncio
from array import array

from eventing.message import read_message
from loadtests.lab.broker.neighbours import Arrivals
from loadtests.lab.broker.traffic import Accepting, Load, events, open_loop, sending, subscriber
from loadtests.lab.soak_broker import verdict
from loadtests.lab.soak_queue_proxy.tally import Sample
from proxies.heads import request_head
from tests.support.processes import eventually


def test_events_differ_by_their_ids_only_and_are_events() -> None:
    made = events("/ns/name", "host", "Ce-More: m", kind="kind")
    ids = set()
    for number in range(3):
        head, _, body = made(number).partition(b"\r\n\r\n")
        request = request_head(head)
        message = read_message(request.fields, body)
        assert request.content_length == len(body) == 1024
        assert (request.target, message.attributes["type"], message.attributes["more"]) == (b"/ns/name", "kind", "m")
        ids.add(message.attributes["id"])
    assert len(ids) == 3


async def test_senders_and_the_subscriber_count_what_they_see() -> None:
    Accepting.count = 0
    async with subscriber() as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        async with sending(2, "127.0.0.1", port, events("/", "host")) as load:
            await eventually(lambda: len(load.latencies_s) > 10)
        assert not load.problems
        assert Accepting.count >= 10
        load = await open_loop(100, 0.1, "127.0.0.1", port, events("/", "host"))
        assert (len(load.latencies_s), load.problems) == (10, [])


async def test_large_events_count_once() -> None:
    Accepting.count = 0
    made = events("/", "host", data_bytes=1 << 20)
    async with subscriber() as url:
        load = await open_loop(100, 0.05, "127.0.0.1", int(url.rstrip("/").rpartition(":")[2]), made)
    assert (len(load.latencies_s), load.problems, Accepting.count) == (5, [], 5)
    head, _, body = made(1).partition(b"\r\n\r\n")
    assert request_head(head).content_length == len(body) == 1 << 20


def test_memory_that_grows_and_events_that_are_refused_end_the_soak_badly() -> None:
    load = Load(events("/", "host"))
    load.sent, load.latencies_s = 2, array("d", [0.001, 0.002])
    flat = [Sample(at_s, 40.0) for at_s in range(30)]
    grown = [Sample(at_s, 40.0 + at_s) for at_s in range(30)]
    assert verdict(30, load, {"ingress": flat, "filter": flat})["met"]
    assert not verdict(30, load, {"ingress": flat, "filter": grown})["met"]
    load.problems.append("expected 202")
    assert not verdict(30, load, {"ingress": flat, "filter": flat})["met"]


async def test_an_answer_that_is_not_202_is_a_problem() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, sending(1, "127.0.0.1", server.sockets[0].getsockname()[1], events("/", "host")) as load:
        await eventually(lambda: load.problems)
    assert "expected 202" in load.problems[0]


async def test_arrivals_are_timed_once_and_numbers_are_nobody_elses() -> None:
    arrivals = Arrivals()
    wanted, others = arrivals.expecting(events("/", "host")), arrivals.numbered(events("/", "host"))
    async with arrivals.listening() as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        await open_loop(100, 0.05, "127.0.0.1", port, others)
        assert (len(arrivals.missing), arrivals.take()) == (0, [])
        await open_loop(100, 0.05, "127.0.0.1", port, wanted)
        assert not arrivals.missing
    took = arrivals.take()
    assert len(took) == 5
    assert all(each > 0 for each in took)
    arrivals.arrived(10)  # once more
    assert arrivals.take() == []
