"""`services.py` and `dns.py`: names and addresses of Services, asked as a resolver asks."""

import asyncio
import socket
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.models.core import Endpoints, Service
from local_cluster.node.dns import DnsServer, answer
from local_cluster.node.services import Found, ServiceTable

A, AAAA, CNAME, SOA = 1, 28, 5, 6


def service(name: str, **spec: Any) -> Service:
    return msgspec.convert({"metadata": {"name": name, "namespace": "ns"}, "spec": spec}, Service)


def endpoints(*addresses: str, port: int = 8080, name: str = "http") -> Endpoints:
    subset = {"addresses": [{"ip": ip} for ip in addresses], "ports": [{"name": name, "port": port}]}
    return msgspec.convert({"metadata": {"name": "x", "namespace": "ns"}, "subsets": [subset]}, Endpoints)


@pytest.fixture
def table() -> ServiceTable:
    table = ServiceTable("cluster.local")
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    table.set_service(("ns", "web"), service("web", clusterIP="10.96.0.9", ports=ports))
    table.set_service(("ns", "bare"), service("bare", clusterIP="None", ports=ports))
    table.set_service(("ns", "alias"), service("alias", type="ExternalName", externalName="web.ns.svc.cluster.local"))
    table.set_service(("ns", "far"), service("far", type="ExternalName", externalName="example.com"))
    table.set_endpoints(("ns", "web"), endpoints("10.244.1.1", "10.244.1.2"))
    table.set_endpoints(("ns", "bare"), endpoints("10.244.1.3", "10.244.1.4"))
    return table


def query(name: str, kind: int = A, *, flags: int = 0x100) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack("!HHHHHH", 7, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def told(message: bytes | None) -> tuple[int, list[tuple[int, str]]]:
    """(RCODE, [(type, address or raw data)]) of an answer's records."""
    assert message is not None
    number, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", message)
    assert (number, flags & 0x8000) == (7, 0x8000)
    at = 12
    for _ in range(questions):
        at = message.index(0, at) + 5
    records = []
    for _ in range(answers):
        at = message.index(0, at) + 1
        kind, _, _, length = struct.unpack_from("!HHIH", message, at)
        data = message[at + 10 : at + 10 + length]
        records.append((kind, socket.inet_ntoa(data) if kind == A else data.decode("ascii")))
        at += 10 + length
    return flags & 15, records


def test_names_lead_to_cluster_ips_pods_and_other_names(table: ServiceTable) -> None:
    assert table.find("web.ns.svc.cluster.local") == Found(("10.96.0.9",))
    assert table.find("bare.ns.svc.cluster.local") == Found(("10.244.1.3", "10.244.1.4"))
    assert table.find("10-244-1-4.bare.ns.svc.cluster.local") == Found(("10.244.1.4",))
    assert table.find("alias.ns.svc.cluster.local") == Found(alias="web.ns.svc.cluster.local")
    for name in ("no.ns.svc.cluster.local", "x.web.ns.svc.cluster.local", "web.ns", "svc.cluster.local", "example.com"):
        assert table.find(name) is None


def test_tcp_ports_lead_to_ready_backends_in_turn(table: ServiceTable) -> None:
    assert table.listeners() == {("10.96.0.9", 80): (("ns", "web"), "http")}
    assert [table.backend(("ns", "web"), "http") for _ in range(3)] == [
        ("10.244.1.2", 8080),
        ("10.244.1.1", 8080),
        ("10.244.1.2", 8080),
    ]
    table.set_endpoints(("ns", "web"), None)
    assert table.backend(("ns", "web"), "http") is None
    table.set_service(("ns", "web"), None)
    assert table.listeners() == {}


def test_a_records_aliases_and_absence(table: ServiceTable) -> None:
    assert told(answer(query("WEB.ns.svc.Cluster.Local"), table)) == (0, [(A, "10.96.0.9")])
    code, records = told(answer(query("alias.ns.svc.cluster.local"), table))
    assert (code, [kind for kind, _ in records], records[1]) == (0, [CNAME, A], (A, "10.96.0.9"))
    assert told(answer(query("far.ns.svc.cluster.local"), table))[1][0][0] == CNAME
    assert told(answer(query("web.ns.svc.cluster.local", AAAA), table)) == (0, [])
    assert told(answer(query("none.ns.svc.cluster.local"), table)) == (3, [])
    assert told(answer(query("example.com"), table)) == (5, [])
    assert told(answer(query("notcluster.local"), table)) == (5, [])


def test_an_answer_that_does_not_fit_says_so(table: ServiceTable) -> None:
    table.set_endpoints(("ns", "bare"), endpoints(*(f"10.244.2.{n}" for n in range(1, 100))))
    message = answer(query("bare.ns.svc.cluster.local"), table, bytes_max=512)
    assert message is not None
    assert len(message) <= 512
    assert struct.unpack_from("!H", message, 2)[0] & 0x200
    assert len(told(answer(query("bare.ns.svc.cluster.local"), table))[1]) == 99


def test_a_loop_of_aliases_ends(table: ServiceTable) -> None:
    table.set_service(("ns", "a"), service("a", type="ExternalName", externalName="b.ns.svc.cluster.local"))
    table.set_service(("ns", "b"), service("b", type="ExternalName", externalName="a.ns.svc.cluster.local"))
    assert 0 < len(told(answer(query("a.ns.svc.cluster.local"), table))[1]) <= 8


@given(st.binary(max_size=80))
def test_any_bytes_get_a_short_answer_or_none(data: bytes) -> None:
    message = answer(data, ServiceTable("cluster.local"))
    assert message is None or (len(message) < 256 and message[:2] == data[:2])


@pytest.mark.parametrize(("data", "code"), [(query("x", flags=0x2800), 4), (query("x")[:-1], 1), (query("x")[:15], 1)])
def test_what_is_malformed_or_not_a_query_is_refused(table: ServiceTable, data: bytes, code: int) -> None:
    assert told(answer(data, table))[0] == code
    assert answer(query("x", flags=0x8000), table) is None


async def test_udp_and_tcp(table: ServiceTable) -> None:
    server = DnsServer(table)
    port = await server.start("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, query("web.ns.svc.cluster.local"))
            reply = await asyncio.wait_for(loop.sock_recv(client, 512), 5)
        assert told(reply) == (0, [(A, "10.96.0.9")])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for name in ("web", "bare"):
            asked = query(f"{name}.ns.svc.cluster.local")
            writer.write(struct.pack("!H", len(asked)) + asked)
            (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), 5))
            assert told(await reader.readexactly(length))[0] == 0
        writer.close()
        await writer.wait_closed()
    finally:
        server.stop()
