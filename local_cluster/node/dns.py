"""The cluster's name server: A records for Services, by UDP and TCP. Everything else is refused or does not exist.

`answer` is the whole server, bytes in and bytes out. Names outside the cluster's domain are refused at once (RCODE 5):
pods of a stack with a network of its own have no way out, so a quick refusal is the honest answer. Sources: RFC 1035
sections 3 and 4, RFC 2308 (no data), Kubernetes DNS-based service discovery 1.1.
"""

import asyncio
import struct
from ipaddress import IPv4Address
from typing import cast

from local_cluster.node.services import ServiceTable

__all__ = ["DnsServer", "answer"]

_A, _CNAME, _SOA, _ANY = 1, 5, 6, 255
_IN = 1
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
_OPCODE = 0x7800
_FORMAT_ERROR, _NO_NAME, _NOT_IMPLEMENTED, _REFUSED = 1, 3, 4, 5
_TTL_S = 5
_UDP_BYTES_MAX, _TCP_BYTES_MAX = 512, 65535
_ALIASES_MAX = 8
_IDLE_S = 10.0


def answer(query: bytes, table: ServiceTable, *, bytes_max: int = _TCP_BYTES_MAX) -> bytes | None:
    """The answer to one message, or None for what deserves none (RFC 1035 4.1)."""
    if len(query) < 12:
        return None
    number, flags, questions = struct.unpack_from("!HHH", query)
    if flags & _RESPONSE:
        return None
    if flags & _OPCODE:
        return _message(number, flags, _NOT_IMPLEMENTED)
    parsed = _question(query) if questions == 1 else None
    if parsed is None:
        return _message(number, flags, _FORMAT_ERROR)
    name, kind, klass, end = parsed
    question = query[12:end]
    if klass not in (_IN, _ANY) or not f".{name}".endswith(f".{table.domain}"):
        return _message(number, flags, _REFUSED, question)
    records: list[bytes] = []
    for _ in range(_ALIASES_MAX):
        found = table.find(name)
        if found is None or not found.alias:
            break
        records.append(_record(name, _CNAME, _packed(found.alias)))
        name = found.alias
    if found is not None and kind in (_A, _ANY):
        records += [_record(name, _A, IPv4Address(address).packed) for address in found.addresses]
    code = _NO_NAME if found is None and not records else 0
    authority = b"" if records else _record(table.domain, _SOA, _start_of_authority(table.domain))
    message = _message(number, flags | _AUTHORITATIVE, code, question, records, authority)
    if len(message) > bytes_max:
        return _message(number, flags | _AUTHORITATIVE | _TRUNCATED, code, question)
    return message


def _question(query: bytes) -> tuple[str, int, int, int] | None:
    """(name in lower case without its last dot, type, class, where it ends), or None for a malformed one."""
    labels: list[bytes] = []
    at = 12
    while at < len(query) and query[at]:
        length = query[at]
        if length > 63 or len(labels) > 127:  # pointers have no place in a question
            return None
        labels.append(query[at + 1 : at + 1 + length])
        at += 1 + length
    if at + 5 > len(query):
        return None
    kind, klass = struct.unpack_from("!HH", query, at + 1)
    name = b".".join(labels).decode("ascii", "replace").lower()
    return name, kind, klass, at + 5


def _message(
    number: int,
    flags: int,
    code: int,
    question: bytes = b"",
    records: list[bytes] | None = None,
    authority: bytes = b"",
) -> bytes:
    kept = flags & (_RECURSION_DESIRED | _AUTHORITATIVE | _TRUNCATED)
    head = (number, _RESPONSE | _RECURSION_AVAILABLE | kept | code, int(bool(question)), len(records or ()))
    return struct.pack("!HHHHHH", *head, int(bool(authority)), 0) + question + b"".join(records or ()) + authority


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _packed(name) + struct.pack("!HHIH", kind, _IN, _TTL_S, len(data)) + data


def _start_of_authority(domain: str) -> bytes:
    names = _packed(f"ns.dns.{domain}") + _packed(f"hostmaster.{domain}")
    return names + struct.pack("!IIIII", 1, 3600, 600, 86400, _TTL_S)


def _packed(name: str) -> bytes:
    labels = [label.encode("ascii", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


class DnsServer:
    """Listens on one address. `start` raises `OSError`."""

    def __init__(self, table: ServiceTable) -> None:
        self._table = table
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, host: str, port: int = 53) -> int:
        """Listen; the port."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, host, port, limit=1 << 17)
        port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._table), local_addr=(host, port))
        return port

    def stop(self) -> None:
        """Stop listening."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    reply = answer(await reader.readexactly(length), self._table)
                if reply is None:
                    return
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            return  # the client is done
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, table: ServiceTable) -> None:
        self._table = table
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._table, bytes_max=_UDP_BYTES_MAX)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
