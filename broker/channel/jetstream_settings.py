"""What a NatsJetStreamChannel and its subscriptions ask of NATS, as streams and consumers.

Annotations of a Subscription, or of a Trigger:

    jetstream.eventing.knuv.dev/max-ack-pending   how many of its events may be under way, instead of the template's
    jetstream.eventing.knuv.dev/ordered           true: one at a time, in order, also over its retries
    jetstream.eventing.knuv.dev/resume            true, or an ISO 8601 period: when it is removed, its place is kept so
                                                  long (a day), and one of the same name goes on there

`MaxDeliver` is not set: the attempts at a subscriber are counted here (`jetstream_verdict`), because the server counts
deliveries, and one that ended with its dispatcher was none.

Source: spec eventing-channels.md 9.1, 9.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    Placement,
    ReplayPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamSource,
)

from broker.channel.jetstream_names import channel_stream, channel_subject, consumer_by_name, consumer_by_uid
from eventing.periods import period_s
from kube.models.messaging import NatsJetStreamChannel
from proxies.gotext import parse_bool, parse_duration_s

__all__ = ["PREFIX", "Place", "consumer_config", "place_of", "stream_config"]

PREFIX: Final = "jetstream.eventing.knuv.dev/"
_MAX_ACK_PENDING: Final = f"{PREFIX}max-ack-pending"
_ORDERED: Final = f"{PREFIX}ordered"
_RESUME: Final = f"{PREFIX}resume"

_RESUME_S: Final = 86_400.0
_ACK_WAIT_S: Final = 10.0
"""Where nobody says otherwise: how soon what a dead dispatcher had is delivered again. The server's own 30 s, which the
original leaves it at, have to last for an attempt there; here the server hears meanwhile that it is under way."""
_ATTEMPT_S: Final = 29.8
"""Where nobody says otherwise, as the original's attempt within the server's 30 s."""
_MARGIN_S: Final = 0.2
"""An attempt ends so long before the server would deliver its message again (spec 9.4)."""
_ACK_PENDING: Final = 1000
_ANSWER_S: Final = 0.5
"""Beyond a subscriber's time limit, until its answer has to be known to the server (spec 9.4)."""

_RETENTION: Final = {
    "Limits": RetentionPolicy.LIMITS,
    "Interest": RetentionPolicy.INTEREST,
    "Work": RetentionPolicy.WORK_QUEUE,
}
_DISCARD: Final = {"Old": DiscardPolicy.OLD, "New": DiscardPolicy.NEW}
_STORAGE: Final = {"File": StorageType.FILE, "Memory": StorageType.MEMORY}
_DELIVER: Final = {
    "All": DeliverPolicy.ALL,
    "Last": DeliverPolicy.LAST,
    "New": DeliverPolicy.NEW,
    "ByStartSequence": DeliverPolicy.BY_START_SEQUENCE,
    "ByStartTime": DeliverPolicy.BY_START_TIME,
}
_REPLAY: Final = {"Instant": ReplayPolicy.INSTANT, "Original": ReplayPolicy.ORIGINAL}


@dataclass(frozen=True, slots=True)
class Place:
    """A subscription's place in a stream."""

    consumer: str
    ack_pending_max: int
    ack_wait_s: float
    """After which the server delivers what it hears nothing of again."""
    attempt_s: float
    """Limit of each attempt."""
    keep_s: float
    """How long it is kept when the subscription is removed; 0: not at all."""


def stream_config(channel: NatsJetStreamChannel) -> StreamConfig:
    """Return the stream of a channel. Raises `ValueError` that names the field."""
    wanted = channel.spec.stream or {}
    config = _mapping("spec.stream.config", wanted.get("config"))
    where = "spec.stream.config."
    if config.get("noAck"):
        raise ValueError(f"{where}noAck: a stream that acknowledges nothing cannot tell that it has an event")
    return StreamConfig(
        name=str(wanted.get("overrideName") or channel_stream(channel.namespace, channel.name)),
        subjects=[channel_subject(channel.namespace, channel.name), *config.get("additionalSubjects", [])],
        retention=_one_of(where + "retention", config.get("retention"), _RETENTION, RetentionPolicy.LIMITS),
        max_consumers=_number(where + "maxConsumers", config.get("maxConsumers")),
        max_msgs=_number(where + "maxMsgs", config.get("maxMsgs")),
        max_bytes=_number(where + "maxBytes", config.get("maxBytes")),
        discard=_one_of(where + "discard", config.get("discard"), _DISCARD, DiscardPolicy.OLD),
        max_age=_duration_s(where + "maxAge", config.get("maxAge")),
        max_msg_size=_number(where + "maxMsgSize", config.get("maxMsgSize")) or -1,
        storage=_one_of(where + "storage", config.get("storage"), _STORAGE, StorageType.FILE),
        num_replicas=_number(where + "replicas", config.get("replicas")),
        duplicate_window=_duration_s(where + "duplicateWindow", config.get("duplicateWindow")) or 0,
        placement=_placement(config.get("placement")),
        mirror=_source(where + "mirror", config["mirror"]) if config.get("mirror") else None,
        sources=[_source(where + "sources", each) for each in config.get("sources") or ()] or None,
    )


def place_of(
    namespace: str,
    name: str,
    uid: str,
    timeout_s: float | None,
    annotations: Mapping[str, str],
    template: Mapping[str, Any] | None = None,
) -> Place:
    """Return the place of a Subscription or Trigger. Raises `ValueError` that names the annotation or the field."""
    template = template or {}
    where = "spec.consumerConfigTemplate."
    keep_s = _kept_s(annotations.get(_RESUME, ""))
    pending = _number(where + "maxAckPending", template.get("maxAckPending")) or _ACK_PENDING
    ack_wait_s = _duration_s(where + "ackWait", template.get("ackWait"))
    if timeout_s is not None:
        ack_wait_s = timeout_s + _ANSWER_S
    if _MAX_ACK_PENDING in annotations:
        text = annotations[_MAX_ACK_PENDING]
        if not (text.isascii() and text.isdigit() and len(text) <= 7 and 0 < int(text) <= 1_000_000):
            raise ValueError(f"{_MAX_ACK_PENDING}: expected a number from 1 to 1000000, got {text[:32]!r}")
        pending = int(text)
    if _ORDERED in annotations and _boolean(_ORDERED, annotations[_ORDERED]):
        pending = 1
    return Place(
        consumer=consumer_by_name(namespace, name) if keep_s else consumer_by_uid(uid),
        ack_pending_max=pending,
        ack_wait_s=_ACK_WAIT_S if ack_wait_s is None else ack_wait_s,
        attempt_s=_ATTEMPT_S if ack_wait_s is None else max(ack_wait_s - _MARGIN_S, _MARGIN_S),
        keep_s=keep_s,
    )


def consumer_config(
    place: Place, template: Mapping[str, Any] | None = None, *, start: DeliverPolicy = DeliverPolicy.ALL
) -> ConsumerConfig:
    """Return the consumer at a place; `start` where the template does not say. Raises `ValueError`."""
    template = template or {}
    where = "spec.consumerConfigTemplate."
    policy = _one_of(where + "deliverPolicy", template.get("deliverPolicy"), _DELIVER, start)
    sequence = _number(where + "optStartSeq", template.get("optStartSeq"))
    time = template.get("optStartTime")
    return ConsumerConfig(
        durable_name=place.consumer,
        deliver_policy=policy,
        opt_start_seq=sequence if policy is DeliverPolicy.BY_START_SEQUENCE else None,
        opt_start_time=_time(where + "optStartTime", time) if policy is DeliverPolicy.BY_START_TIME else None,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=place.ack_wait_s,
        max_deliver=-1,
        filter_subject=template.get("filterSubject") or None,
        replay_policy=_one_of(where + "replayPolicy", template.get("replayPolicy"), _REPLAY, ReplayPolicy.INSTANT),
        rate_limit_bps=None,  # of push consumers only
        sample_freq=template.get("sampleFrequency") or None,
        max_ack_pending=place.ack_pending_max,
        inactive_threshold=place.keep_s or None,
    )


def _kept_s(text: str) -> float:
    if not text:
        return 0.0
    try:
        return _RESUME_S if parse_bool(text) else 0.0
    except ValueError:
        pass
    try:
        kept_s = period_s(text)
    except ValueError:
        kept_s = -1.0
    if kept_s <= 0:
        raise ValueError(f"{_RESUME}: expected true, false or an ISO 8601 period such as P7D, got {text[:32]!r}")
    return kept_s


def _boolean(name: str, text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected true or false, got {text[:32]!r}") from error


def _mapping(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object, got {type(value).__name__}")
    return value


def _number(name: str, value: object) -> int | None:
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}: expected an integer, got {str(value)[:32]!r}")
    return value


def _duration_s(name: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        return parse_duration_s(str(value)) or None
    except ValueError as error:
        raise ValueError(f"{name}: expected a duration such as 2m0s, got {str(value)[:32]!r}") from error


def _one_of(name: str, value: object, choices: Mapping[str, Any], default: Any) -> Any:
    if value is None or value == "":
        return default
    if value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(choices)}, got {str(value)[:32]!r}")
    return choices[str(value)]


def _time(name: str, value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"{name}: expected a time as RFC 3339 has it, got {str(value)[:32]!r}") from error


def _placement(value: object) -> Placement | None:
    content = _mapping("spec.stream.config.placement", value)
    return Placement(cluster=content.get("cluster") or "", tags=content.get("tags") or None) if content else None


def _source(name: str, value: object) -> StreamSource:
    content = _mapping(name, value)
    time = content.get("optStartTime")
    return StreamSource(
        name=str(content.get("name") or ""),
        opt_start_seq=_number(f"{name}.optStartSeq", content.get("optStartSeq")),
        opt_start_time=_time(f"{name}.optStartTime", time) if time else None,
        filter_subject=content.get("filterSubject") or None,
    )
