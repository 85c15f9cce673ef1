"""Keeping dead letters: when it is over, and when the stream is looked for anew; real NATS is elsewhere."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import pytest
from nats.js.api import StreamConfig

from broker.channel.dead import Dead
from broker.channel.jetstream_dead_letters import DeadLetters, Limits
from eventing.jetstream.link import Link
from eventing.jetstream.publisher import Published, Publisher, Publishing
from eventing.jetstream.streams import JetStreamError, Streams
from proxies.environment import ConfigError
from proxies.logs import Logger

DEAD = Dead("http://a/", 400, b"why", 1.0, False)
NOTHING_SAID = Dead("http://a/", 400, b"", 1.0, False)


class Nats:
    """What stands for link, streams and publisher: it does as told."""

    def __init__(self) -> None:
        self.up: list[Callable[[], None]] = []
        self.made: list[StreamConfig] = []
        self.problem: JetStreamError | None = None
        self.published: list[tuple[str, Mapping[str, str], str]] = []
        self.result = Published(Publishing.STORED)
        self.results: list[Published] = []
        """Before it."""

    def on_up(self, callback: Callable[[], None]) -> None:
        self.up.append(callback)

    async def ensure_stream(self, wanted: StreamConfig) -> bool:
        if self.problem is not None:
            raise self.problem
        self.made.append(wanted)
        return True

    def publish(
        self, subject: str, payload: bytes, done: Callable[[Published], None], *, message_id: str, headers: Any
    ) -> None:
        self.published.append((subject, headers, message_id))
        done(self.results.pop(0) if self.results else self.result)


def letters(nats: Nats, limits: Limits | None = None) -> DeadLetters:
    log = Logger("test", write=lambda _line: None)
    return DeadLetters(cast("Link", nats), cast("Streams", nats), cast("Publisher", nats), limits or Limits(), log)


def keep(dead_letters: DeadLetters, dead: Dead = NOTHING_SAID) -> Publishing:
    told: list[Publishing] = []
    # Whoever may publish may name headers as no client of NATS takes them: those would keep the letter from being kept.
    refused = {"": "e", "a b": "s", "a/b": "t", "a(b)": "c", "a\x00": "n"}
    headers = {"Knuv-Passed": "p", "Nats-Msg-Id": "i", "nats-expected-stream": "s", **refused}
    dead_letters.keep("subject", b"{}", headers, dead, told.append, message_id="m")
    (how,) = told
    return how


@pytest.mark.parametrize("how", Publishing)
def test_who_keeps_a_letter_hears_how_it_ended(how: Publishing) -> None:
    nats = Nats()
    nats.result = Published(how, "why")
    assert keep(letters(nats)) is how
    ((_, headers, message_id),) = nats.published
    # What NATS made of the message is not the letter's.
    assert (set(headers), message_id) == ({"Knuv-Passed", "Knuv-Dead"}, "m")


@pytest.mark.parametrize("how", [Publishing.STORED, Publishing.TOO_LARGE])
def test_a_letter_that_is_too_large_is_kept_without_what_the_subscriber_said(how: Publishing) -> None:
    nats = Nats()
    nats.results = [Published(Publishing.TOO_LARGE, "1048600 bytes"), Published(how)]
    assert keep(letters(nats), DEAD) is how
    said = [msgspec.json.decode(base64.b64decode(headers["Knuv-Dead"]), type=Dead) for _, headers, _ in nats.published]
    assert said == [DEAD, NOTHING_SAID]


def test_the_stream_is_looked_for_once_and_again_after_a_connection_or_a_letter_that_was_not_kept() -> None:
    nats = Nats()
    dead_letters = letters(nats)
    for _ in range(2):
        asyncio.run(dead_letters.ensure())
    assert len(nats.made) == 1
    for again in (nats.up[0], lambda: keep(dead_letters)):
        nats.result = Published(Publishing.FAILED, "no stream takes it")
        again()
        asyncio.run(dead_letters.ensure())
    assert len(nats.made) == 3
    assert (nats.made[0].max_bytes, nats.made[0].max_age) == (64 << 20, 7 * 86_400)


def test_nothing_is_kept_where_it_may_not_be_and_what_is_away_for_a_while_is_waited_for() -> None:
    nats = Nats()
    dead_letters = letters(nats)
    asyncio.run(dead_letters.ensure())
    for is_temporary in (True, False):
        nats.up[0]()
        nats.problem = JetStreamError("no", is_temporary=is_temporary)
        asyncio.run(dead_letters.ensure())
        assert dead_letters.is_on is is_temporary
    off = letters(nats := Nats(), Limits(bytes_max=0))
    asyncio.run(off.ensure())
    assert (off.is_on, nats.made) == (False, [])


def test_bounds_are_read_from_the_environment() -> None:
    names = ("KNUV_JETSTREAM_DEAD_LETTERS_BYTES", "KNUV_JETSTREAM_DEAD_LETTERS_AGE")
    assert Limits.from_env(dict(zip(names, ("0x10", "P1D"), strict=True))) == Limits(16, 86_400.0)
    for wrong in (("-1", "P1D"), ("1", "1d"), ("1", "PT0S")):
        with pytest.raises(ConfigError, match=names[wrong[0] == "1"]):
            Limits.from_env(dict(zip(names, wrong, strict=True)))
