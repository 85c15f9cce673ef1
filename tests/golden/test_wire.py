"""Replays `wire`: the bytes of stat messages, both ways, and what a scraper reads of a long body."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from proxies.wire.stat import (
    Stat,
    StatMessage,
    WireError,
    decode_messages,
    decode_stat,
    encode_messages,
    encode_stat,
)
from tests.golden.replay import Golden, same

SCRAPE_BYTES_MAX = 336


def test_wire(golden: Golden) -> None:
    with golden("wire") as vectors:
        vectors.each("encode", check_encode)
        vectors.each("decode", check_decode)
        vectors.each("scrape_body", check_scrape_body)


def stat_of(value: dict[str, Any]) -> Stat:
    return Stat(**value)


def message_of(value: dict[str, Any]) -> StatMessage:
    return StatMessage(value["namespace"], value["name"], stat_of(value["stat"]))


def framed(message: StatMessage) -> bytes:
    """A single message is not sent alone; take it out of its frame: tag, length (at most two bytes), content."""
    frame = encode_messages([message])
    return frame[2:] if frame[1] < 0x80 else frame[3:]


ENCODERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "Stat": lambda value: encode_stat(stat_of(value)),
    "WireStatMessage": lambda value: framed(message_of(value)),
    "WireStatMessages": lambda value: encode_messages([message_of(each) for each in value["messages"]]),
}


def check_encode(entry: dict[str, Any]) -> None:
    assert ENCODERS[entry["message"]](entry["value"]).hex() == entry["expect"]["hex"]


def decode(entry: dict[str, Any], data: bytes) -> object:
    if entry.get("message", "Stat") == "Stat":
        return asdict(decode_stat(data))
    assert entry["message"] == "WireStatMessages"
    return {"messages": [asdict(message) for message in decode_messages(data)]}


def check_decode(entry: dict[str, Any]) -> None:
    data = bytes.fromhex(entry["hex"])
    if entry["expect"]["error"]:
        with pytest.raises(WireError):
            decode(entry, data)
        return
    same(decode(entry, data), entry["expect"]["value"], "value", relative=0.0)


def check_scrape_body(entry: dict[str, Any]) -> None:
    data = bytes.fromhex(entry["hex"])
    assert len(data) == entry["length"]
    check_decode({**entry, "hex": data[:SCRAPE_BYTES_MAX].hex()})
