"""Protobuf bodies through the server, and the decoder on bytes that are no message. Numbers are the api-clients
statements; the recorded bodies are replayed in `tests/golden`."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local_cluster.apiserver.protobuf import MAGIC, ProtobufError, decode_envelope
from tests.local_cluster.apiserver.raw import Api

PROTOBUF = "application/vnd.kubernetes.protobuf"


def field(number: int, value: bytes | int) -> bytes:
    """One field: bytes with their length, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def metadata(name: str) -> bytes:
    return field(1, field(1, name.encode()))


async def test_02_a_lease_is_created_and_replaced(api: Api) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

    def lease(holder: bytes, transitions: int) -> bytes:
        micro_time = field(1, 1_700_000_000) + field(2, 123_456_000)
        spec = field(1, holder) + field(2, 15) + field(3, micro_time) + field(5, transitions)
        return envelope("coordination.k8s.io/v1", "Lease", metadata("lock") + field(2, spec))

    created = await api.call("POST", path, lease(b"one", 0), content_type=PROTOBUF)
    assert created.status == 201, created.data
    assert created.data["spec"] == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2023-11-14T22:13:20.123456Z",
        "leaseTransitions": 0,
    }
    replaced = await api.call("PUT", f"{path}/lock", lease(b"two", 1), content_type=PROTOBUF)
    assert (replaced.data["spec"]["holderIdentity"], replaced.data["spec"]["leaseTransitions"]) == ("two", 1)


def test_05_zeros_are_dropped_unless_their_field_is_a_pointer() -> None:
    spec = field(1, 0) + field(5, 0)  # replicas is a pointer, minReadySeconds is not
    deployment = decode_envelope(envelope("apps/v1", "Deployment", metadata("web") + field(2, spec)))
    assert deployment["spec"] == {"replicas": 0}


def test_04_numbers_may_be_negative() -> None:
    spec = field(1, (1 << 64) - 1)
    deployment = decode_envelope(envelope("apps/v1", "Deployment", field(2, spec)))
    assert deployment["spec"] == {"replicas": -1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        MAGIC,
        envelope("v1", "Nothing", b""),
        envelope("v1", "ConfigMap", b"\x0a"),
        envelope("v1", "ConfigMap", b"\x0a\x05ab"),
        envelope("v1", "ConfigMap", b"\x0b"),
        envelope("v1", "ConfigMap", b"\x00\x00"),
        envelope("v1", "ConfigMap", b"\x0a" + b"\xff" * 11),
        envelope("v1", "ConfigMap", field(1, 1)),
        envelope("v1", "ConfigMap", field(1, field(1, b"\xff"))),
    ],
)
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        decode_envelope(body)


def test_messages_cannot_nest_without_bound() -> None:
    schema = b""
    for _ in range(200):
        schema = field(28, schema)  # `not` of a JSONSchemaProps is another one
    version = field(1, b"v1") + field(4, field(1, schema))
    with pytest.raises(ProtobufError, match="nest"):
        decode_envelope(envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, field(7, version))))


@given(st.binary(max_size=200), st.sampled_from(["Pod", "Service", "ConfigMap", "Event"]))
@example(b"\x0a\x00", "Pod")
def test_any_bytes_are_decoded_or_refused(raw: bytes, kind: str) -> None:
    try:
        obj = decode_envelope(envelope("v1", kind, raw))
    except ProtobufError:
        return
    assert obj["kind"] == kind
