"""What channels and subscriptions ask of NATS, from their objects."""

import pytest
from nats.js.api import DeliverPolicy, DiscardPolicy, RetentionPolicy, StorageType

from broker.channel.jetstream_names import (
    broker_stream,
    channel_stream,
    channel_subject,
    consumer_by_name,
    consumer_by_uid,
)
from broker.channel.jetstream_settings import PREFIX, consumer_config, place_of, stream_config
from kube.models.messaging import NatsJetStreamChannel, NatsJetStreamChannelSpec
from kube.models.meta import ObjectMeta


def channel(**stream: object) -> NatsJetStreamChannel:
    metadata = ObjectMeta(name="my-channel", namespace="my-ns")
    return NatsJetStreamChannel(metadata=metadata, spec=NatsJetStreamChannelSpec(stream=stream or None))


def test_names() -> None:
    assert channel_stream("my-ns", "my-channel") == "KN_MY_NS__MY_CHANNEL"
    assert channel_subject("my-ns", "my-channel") == "my-ns.my-channel._knative"
    assert consumer_by_uid("2b5e8d5c-1f7e-4d6a") == "KN_SUB_2B5E8D5C1F7E4D6A"
    assert consumer_by_name("a-b", "c.d") == "KN_SUB_A-B__C_D"
    assert len({consumer_by_name("a", "b-c"), consumer_by_name("a", "b.c"), consumer_by_name("a-b", "c")}) == 3
    assert not broker_stream("x", "y").startswith("KN_")


def test_a_channel_that_says_nothing_has_the_originals_stream() -> None:
    config = stream_config(channel())
    assert (config.name, config.subjects) == ("KN_MY_NS__MY_CHANNEL", ["my-ns.my-channel._knative"])
    assert (config.retention, config.discard, config.storage) == (
        RetentionPolicy.LIMITS,
        DiscardPolicy.OLD,
        StorageType.FILE,
    )
    assert (config.max_age, config.max_msgs, config.max_bytes, config.num_replicas) == (None, None, None, None)


def test_everything_that_a_channel_says_is_in_its_stream() -> None:
    config = stream_config(
        channel(
            overrideName="MINE",
            config={
                "additionalSubjects": ["more.x"],
                "retention": "Work",
                "discard": "New",
                "storage": "Memory",
                "maxConsumers": 1,
                "maxMsgs": 2,
                "maxBytes": 3,
                "maxMsgSize": 4,
                "replicas": 5,
                "maxAge": "1h30m",
                "duplicateWindow": "30s",
                "placement": {"cluster": "c", "tags": ["t"]},
                "sources": [{"name": "S", "optStartSeq": 7, "filterSubject": "f"}],
            },
        )
    )
    assert (config.name, config.subjects) == ("MINE", ["my-ns.my-channel._knative", "more.x"])
    assert (config.retention, config.discard, config.storage) == (
        RetentionPolicy.WORK_QUEUE,
        DiscardPolicy.NEW,
        StorageType.MEMORY,
    )
    numbers = (config.max_consumers, config.max_msgs, config.max_bytes, config.max_msg_size, config.num_replicas)
    assert numbers == (1, 2, 3, 4, 5)
    assert (config.max_age, config.duplicate_window) == (5400.0, 30.0)
    assert config.placement is not None
    assert (config.placement.cluster, config.placement.tags) == ("c", ["t"])
    assert config.sources is not None
    assert (config.sources[0].name, config.sources[0].opt_start_seq, config.sources[0].filter_subject) == ("S", 7, "f")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"retention": "Forever"}, "config.retention: expected Limits or Interest or Work, got 'Forever'"),
        ({"maxAge": "soon"}, "config.maxAge: expected a duration such as 2m0s, got 'soon'"),
        ({"maxMsgs": "many"}, "config.maxMsgs: expected an integer, got 'many'"),
        ({"noAck": True}, "noAck: a stream that acknowledges nothing"),
        ({"placement": "here"}, "placement: expected an object, got str"),
        ("text", "spec.stream.config: expected an object, got str"),
    ],
)
def test_what_is_wrong_in_a_stream_is_told_with_its_field(config: object, told: str) -> None:
    with pytest.raises(ValueError, match=r"spec\.stream") as raised:
        stream_config(channel(config=config))
    assert told in str(raised.value)


def test_a_place_is_the_uids_unless_it_is_to_be_kept() -> None:
    assert place_of("ns", "name", "u-1", None, {}).consumer == "KN_SUB_U1"
    kept = place_of("ns", "name", "u-1", None, {PREFIX + "resume": "true"})
    assert (kept.consumer, kept.keep_s) == ("KN_SUB_NS__NAME", 86_400.0)
    assert place_of("ns", "name", "u-1", None, {PREFIX + "resume": "P7D"}).keep_s == 7 * 86_400.0
    assert place_of("ns", "name", "u-1", None, {PREFIX + "resume": "false"}).keep_s == 0.0


def test_how_many_may_be_under_way() -> None:
    assert place_of("ns", "n", "u", None, {}).ack_pending_max == 1000
    template = {"maxAckPending": 7}
    assert place_of("ns", "n", "u", None, {}, template).ack_pending_max == 7
    assert place_of("ns", "n", "u", None, {PREFIX + "max-ack-pending": "9"}, template).ack_pending_max == 9
    ordered = {PREFIX + "max-ack-pending": "9", PREFIX + "ordered": "true"}
    assert place_of("ns", "n", "u", None, ordered, template).ack_pending_max == 1


def test_the_ack_wait_is_the_time_limit_and_half_a_second_or_the_templates() -> None:
    template = {"ackWait": "5s"}
    limited = place_of("ns", "n", "u", 2.0, {}, template)
    assert (limited.ack_wait_s, limited.attempt_s) == (2.5, 2.3)
    templated = place_of("ns", "n", "u", None, {}, template)
    assert (templated.ack_wait_s, templated.attempt_s) == (5.0, 4.8)
    # Where nobody says anything, a dispatcher's death is noticed sooner than an attempt may take.
    free = place_of("ns", "n", "u", None, {})
    assert (free.ack_wait_s, free.attempt_s) == (10.0, 29.8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max-ack-pending", "0"),
        ("max-ack-pending", "many"),
        ("max-ack-pending", "10000000"),
        ("ordered", "perhaps"),
        ("resume", "-P1D"),
        ("resume", "later"),
    ],
)
def test_a_wrong_annotation_is_told_with_its_name(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{PREFIX}{name}: expected "):
        place_of("ns", "n", "u", None, {PREFIX + name: text})


def test_a_consumer_is_counted_for_here_and_not_by_the_server() -> None:
    template = {"maxDeliver": 3, "filterSubject": "f", "sampleFrequency": "10%", "replayPolicy": "Original"}
    config = consumer_config(place_of("ns", "n", "u", None, {}, template), template)
    assert (config.durable_name, config.max_deliver, config.ack_wait) == ("KN_SUB_U", -1, 10.0)
    assert (config.deliver_policy, config.deliver_subject) == (DeliverPolicy.ALL, None)
    assert (config.filter_subject, config.sample_freq) == ("f", "10%")


def test_where_a_consumer_starts() -> None:
    place = place_of("ns", "n", "u", None, {})
    assert consumer_config(place, start=DeliverPolicy.NEW).deliver_policy is DeliverPolicy.NEW
    by_sequence = consumer_config(place, {"deliverPolicy": "ByStartSequence", "optStartSeq": 7})
    assert (by_sequence.deliver_policy, by_sequence.opt_start_seq) == (DeliverPolicy.BY_START_SEQUENCE, 7)
    by_time = consumer_config(place, {"deliverPolicy": "ByStartTime", "optStartTime": "2026-01-02T03:04:05Z"})
    assert by_time.opt_start_time is not None
    assert by_time.opt_start_time.isoformat() == "2026-01-02T03:04:05+00:00"
    with pytest.raises(ValueError, match=r"deliverPolicy: expected All or .*, got 'First'"):
        consumer_config(place, {"deliverPolicy": "First"})
    with pytest.raises(ValueError, match=r"optStartTime: expected a time as RFC 3339 has it, got 'noon'"):
        consumer_config(place, {"deliverPolicy": "ByStartTime", "optStartTime": "noon"})
