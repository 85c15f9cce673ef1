"""However a message's bytes are split on their way, the verdict of its row is the same.

In memory, so that each row can be cut at every byte: the tables' own tests show that a socket changes nothing.
"""

import pytest

from tests.conformance.http1.cases import RequestCase, ResponseCase
from tests.conformance.http1.memory import Bench, run_in_memory
from tests.conformance.http1.rig import check_reply
from tests.conformance.http1.tables import REQUESTS, RESPONSES

_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
_LENGTH_MAX = 400
"""Longer rows are cut here and there, and not sent byte by byte."""
_CUTS_OF_LONG_ROWS = 20

_CLASSES = sorted({name for name, _ in REQUESTS})
_RESPONSE_CLASSES = sorted({name for name, _ in RESPONSES})


def cuts(data: bytes) -> range:
    return range(1, len(data), 1 if len(data) <= _LENGTH_MAX else len(data) // _CUTS_OF_LONG_ROWS)


@pytest.mark.parametrize("name", _CLASSES)
def test_a_request_cut_at_any_byte_has_the_verdict_of_the_whole(name: str) -> None:
    async def play(bench: Bench) -> None:
        for _, case in (each for each in REQUESTS if each[0] == name and not each[1].at_once):
            behind = _SMUGGLED if case.closes and not case.hangs_up else b""
            for cut in cuts(case.sent):
                await play_request(bench, case, [case.sent[:cut], case.sent[cut:] + behind])
            if len(case.sent) <= _LENGTH_MAX:
                await play_request(bench, case, [case.sent[at : at + 1] for at in range(len(case.sent))] + [behind])

    run_in_memory(play)


async def play_request(bench: Bench, case: RequestCase, pieces: list[bytes]) -> None:
    bench.app.begin()
    replies, has_ended, rest = await bench.converse(pieces, ("GET",) * len(case.statuses), hangs_up=case.hangs_up)
    assert ([reply.status for reply in replies], has_ended) == (list(case.statuses), case.closes), (case, pieces)
    assert rest == b""
    bench.app.check(case.seen)


@pytest.mark.parametrize("name", _RESPONSE_CLASSES)
def test_a_response_cut_at_any_byte_has_the_verdict_of_the_whole(name: str) -> None:
    async def play(bench: Bench) -> None:
        for _, case in (each for each in RESPONSES if each[0] == name):
            for cut in cuts(case.reply):
                await play_response(bench, case, [case.reply[:cut], case.reply[cut:]])
            if len(case.reply) <= _LENGTH_MAX:
                await play_response(bench, case, [case.reply[at : at + 1] for at in range(len(case.reply))])

    run_in_memory(play)


async def play_response(bench: Bench, case: ResponseCase, pieces: list[bytes]) -> None:
    bench.app.begin(reply=pieces, closes=case.app_closes)
    request = f"{case.method} / HTTP/{case.version}\r\nHost: h\r\n\r\n".encode()
    replies, has_ended, rest = await bench.converse([request], [case.method], hangs_up=False)
    assert rest == b""
    *informational, final = replies
    assert [reply.status for reply in informational] == list(case.informational)
    check_reply(final, case, has_ended=has_ended)
    used = bench.app.answering
    assert used is not None
    assert used.is_lost is case.drops_app, (case, pieces)
