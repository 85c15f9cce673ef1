"""Dead letters of NatsJetStreamChannels: kept in a stream, listed, delivered again, lost by nobody's death."""

import pytest

from tests.support.dispatcher import DEADLINE_S, EVENT, Reply, dead_letters_to, subscriber
from tests.support.jetstream_dispatcher import JetStreamWorld, debug
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "KNUV_DEAD_LETTERS"


async def test_what_failed_for_good_is_kept_with_and_without_a_sink(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink, sunk = await world.sink(Reply(400, (), b"broken")), await world.sink()
    alone, with_sink = subscriber(sink.url), subscriber(sink.url, delivery=dead_letters_to(sunk.url))
    channel = await jetstream.channel(alone, with_sink)
    assert (await world.send(channel, body=b"data")).status == 202
    for entry, was_sunk in ((alone, False), (with_sink, True)):
        (letter,) = await jetstream.letters(entry.uid, 1)
        assert (letter["id"], letter["source"], letter["type"]) == ("1", "/source", "type")
        assert (letter["destination"], letter["code"], letter["body"]) == (sink.url, 400, "broken")
        assert (letter["channel"], letter["sink"]) == (f"ns/{channel.name}", was_sunk)

    async def is_over() -> bool:
        infos = await jetstream.nats.jetstream().consumers_info("KN_NS__" + channel.name.upper().replace("-", "_"))
        return not any(info.num_ack_pending for info in infos)

    await eventually(is_over, timeout_s=DEADLINE_S)
    assert len(sunk.got) == 1


async def test_letters_are_delivered_again_as_events_are_and_then_gone(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink = await world.sink(400, 400, 503, 202)
    entry = subscriber(sink.url, delivery={"retry": 1})
    channel = await jetstream.channel(entry)
    lines = ("Content-Type: text/plain", "X-Request-Id: r", "Ce-Knativebrokerttl: 3")
    assert (await world.send(channel, *lines, body=b"first")).status == 202
    await jetstream.letters(entry.uid, 1)
    assert (await world.send(channel, event=(EVENT[0], "Ce-Id: 2", *EVENT[2:]))).status == 202
    letters = await jetstream.letters(entry.uid, 2)
    assert [letter["id"] for letter in letters] == ["1", "2"]
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 2})
    await sink.until(5)
    again = next(got for got in sink.got[2:] if got.get("ce-id") == "1")
    assert (again.body, again.get("x-request-id"), again.get("prefer")) == (b"first", "r", "reply")
    assert again.get("ce-knativebrokerttl") == "3"
    assert await jetstream.letters(entry.uid, 0) == []
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 0})


async def test_what_fails_once_more_is_a_letter_once_more_and_tells_of_the_last_time(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink, sunk = await world.sink(400, 410), await world.sink()
    entry = subscriber(sink.url, delivery=dead_letters_to(sunk.url))
    channel = await jetstream.channel(entry)
    assert (await world.send(channel)).status == 202
    (first,) = await jetstream.letters(entry.uid, 1)
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 1})
    assert (await sunk.until(2))[1].get("ce-knativeerrorcode") == "410"

    async def is_told() -> bool:
        letters = await jetstream.letters(entry.uid, 1)
        return letters[0]["code"] == 410 and letters[0]["seq"] > first["seq"]

    await eventually(is_told, timeout_s=DEADLINE_S)


async def no_claim(jetstream: JetStreamWorld) -> None:
    """Wait until nobody's letters are being delivered again, nor are to be."""

    async def is_over() -> bool:
        found = await jetstream.nats.jetstream().stream_info(STREAM, subjects_filter="knuv.dead_letters.*.*.redrive")
        return not found.state.subjects

    await eventually(is_over, timeout_s=DEADLINE_S)


async def test_a_dispatcher_that_is_killed_meanwhile_loses_no_letter_and_the_next_one_goes_on(
    jetstream: JetStreamWorld,
) -> None:
    world = jetstream.world
    sink = await world.sink(400, 400, 202)
    entry = subscriber(sink.url)
    channel = await jetstream.channel(entry)
    for number in (1, 2):
        assert (await world.send(channel, event=(EVENT[0], f"Ce-Id: {number}", *EVENT[2:]))).status == 202
    await jetstream.letters(entry.uid, 2)
    sink.gate.clear()
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 2})
    await sink.until(4)
    assert (await jetstream.redrive(entry.uid))[0] == 400, "they are being delivered already"
    await world.kill()
    sink.gate.set()
    await world.start()
    await sink.until(6)
    assert sorted(str(got.get("ce-id")) for got in sink.got[4:]) == ["1", "2"]
    assert await jetstream.letters(entry.uid, 0) == []
    assert world.logged("redrive_resumed")

    await no_claim(jetstream)
    assert len(sink.got) == 6


async def test_a_letter_that_ends_each_process_is_passed_over_and_stays(jetstream: JetStreamWorld) -> None:
    world = jetstream.world
    sink = await world.sink(400, 400, 202)
    await jetstream.subscription("deadly", "deadly", max_ack_pending="1")
    entry = subscriber(sink.url, name="deadly")
    channel = await jetstream.channel(entry, name="deadly")
    for number in (1, 2):
        assert (await world.send(channel, event=(EVENT[0], f"Ce-Id: {number}", *EVENT[2:]))).status == 202
        await jetstream.letters(entry.uid, number)
    sink.gate.clear()
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 2})
    for count in (3, 4):
        await sink.until(count)
        await world.kill()
        await world.start()
    sink.gate.set()
    await sink.until(5)
    await no_claim(jetstream)
    assert [got.get("ce-id") for got in sink.got] == ["1", "2", "1", "1", "2"]
    (letter,) = await jetstream.letters(entry.uid, 1)
    assert letter["id"] == "1"
    assert [told["letter"] for told in world.logged("dead_letter_ends_processes")] == [letter["seq"]]
    # Who asks again wants all of them.
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 1})
    assert await jetstream.letters(entry.uid, 0) == []


@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_redrive_goes_on_where_it_was_and_sends_nothing_twice_that_was_over(
    jetstream: JetStreamWorld, is_killed: bool
) -> None:
    world = jetstream.world
    name = f"goes-on-{is_killed}".lower()
    sink = await world.sink(400, 400, 410, 503, 202)
    await jetstream.subscription(name, name, max_ack_pending="1")
    entry = subscriber(
        sink.url, name=name, delivery={"retry": 1, "backoffPolicy": "exponential", "backoffDelay": "PT60S"}
    )
    channel = await jetstream.channel(entry, name=name)
    for number in (1, 2):
        assert (await world.send(channel, event=(EVENT[0], f"Ce-Id: {number}", *EVENT[2:]))).status == 202
        await jetstream.letters(entry.uid, number)
    assert await jetstream.redrive(entry.uid) == (200, {"redriven": 2})
    # The first has failed once more, and the second waits for its next attempt.
    await sink.until(4)
    if is_killed:
        await world.kill()
    else:
        assert world.process is not None
        world.process.terminate()
        await world.process.wait()
        world.environ["POD_NAME"] = "another"
    await world.start()
    await sink.until(5)

    await no_claim(jetstream)
    (letter,) = await jetstream.letters(entry.uid, 1)
    assert (letter["id"], letter["code"]) == ("1", 410)
    assert [got.get("ce-id") for got in sink.got] == ["1", "2", "1", "2", "2"]


@pytest.mark.parametrize("header", ["Other", "Knuv-Passed"])
async def test_headers_that_are_not_ascii_keep_no_letter_from_being_delivered(
    jetstream: JetStreamWorld, header: str
) -> None:
    world = jetstream.world
    sink = await world.sink(400, 400, 202)
    entry = subscriber(sink.url)
    channel = await jetstream.channel(entry)
    event = b'{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}'
    subject = f"ns.{channel.name}._knative"
    if header != "Other":
        # No event; as a letter it stands where only letters should be, and others behind it are found all the same.
        letters = f"knuv.dead_letters.KN_NS__{channel.name.upper().replace('-', '_')}.{await consumer_of(jetstream)}"
        await jetstream.nats.jetstream().publish(letters, event, headers={header: "é", "Knuv-Dead": "é"})
    await jetstream.nats.jetstream().publish(subject, event, headers={"Other": "é"})
    for count in (2, 3):
        await jetstream.letters(entry.uid, 1)
        status, _ = await jetstream.redrive(entry.uid)
        assert status == 200
        await sink.until(count)
        await no_claim(jetstream)
    assert await jetstream.letters(entry.uid, 0) == []
    assert not world.logged("nats_link_failed")


async def consumer_of(jetstream: JetStreamWorld) -> str:
    """The name of the consumer that was made last."""
    streams = await jetstream.nats.jetstream().streams_info()
    found = [each for stream in streams for each in await jetstream.nats.jetstream().consumers_info(stream.config.name)]
    return max(found, key=lambda each: each.created).name


async def test_a_letter_that_is_too_large_for_nats_is_told_of_and_its_message_is_over(
    jetstream: JetStreamWorld,
) -> None:
    world = jetstream.world
    sink = await world.sink(400, 202)
    entry = subscriber(sink.url, name="large")
    channel = await jetstream.channel(entry, name="large")
    # 1,048,459 bytes as a message: NATS takes 1,048,576, and why it failed has no room beside it.
    assert (await world.send(channel, body=bytes(786_200))).status == 202
    await eventually(lambda: world.logged("dead_letter_too_large"), timeout_s=DEADLINE_S)
    assert (await world.send(channel, event=(EVENT[0], "Ce-Id: 2", *EVENT[2:]))).status == 202
    await sink.until(2)
    assert [got.get("ce-id") for got in sink.got] == ["1", "2"]
    assert await jetstream.letters(entry.uid, 0) == []


async def test_a_channels_letters_go_with_it(jetstream: JetStreamWorld) -> None:
    sink = await jetstream.world.sink(400)
    entry = subscriber(sink.url)
    channel = await jetstream.channel(entry)
    assert (await jetstream.world.send(channel)).status == 202
    await jetstream.letters(entry.uid, 1)
    subject = f"knuv.dead_letters.KN_NS__{channel.name.upper().replace('-', '_')}.*"

    async def count() -> int:
        info = await jetstream.nats.jetstream().stream_info(STREAM, subjects_filter=subject)
        return sum((info.state.subjects or {}).values())

    assert await count() == 1
    await jetstream.world.client.raw(
        "DELETE", f"/apis/messaging.knative.dev/v1alpha1/namespaces/ns/natsjetstreamchannels/{channel.name}"
    )

    async def is_gone() -> bool:
        return not await count()

    await eventually(is_gone, timeout_s=DEADLINE_S)


async def test_a_wrong_question_is_told(jetstream: JetStreamWorld) -> None:
    log = jetstream.world.log
    for target, told in (("redrive", "expected the uid"), ("redrive?subscription=nobody", "not delivered to by")):
        status, text = await debug(log, f"/debug/{target}", "POST")
        assert status == 400
        assert told in text
