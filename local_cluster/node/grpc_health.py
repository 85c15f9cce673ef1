"""One call of `grpc.health.v1.Health/Check`, as bytes: what to send, and what the answer means.

A probe needs so little of HTTP/2 that a library would be the larger part: one request whose header block uses only
literals, and of the answer only whether a DATA frame with the message `SERVING` came. A refusal by status comes without
such a message. Pure: bytes in, verdict out. Sources: RFC 9113 4.1 and 6, RFC 7541 6.2.2, the gRPC health checking
protocol.
"""

import struct

__all__ = ["HealthCheck"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_PADDED = 8
_SERVING = b"\x08\x01"
"""`HealthCheckResponse{status: SERVING}`; the other statuses are 0 (left out), 2 and 3."""
_FRAME_BYTES_MAX = 1 << 14


class HealthCheck:
    """One check over one connection. Send `request`; feed what arrives until `is_done`."""

    def __init__(self, service: str, authority: str, agent: str) -> None:
        self.is_done = False
        self.is_serving = False
        self._received = b""
        self._message = b""
        headers = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("user-agent", agent),
            ("te", "trailers"),
        )
        name = service.encode()
        body = b"\x0a" + _varint(len(name)) + name if name else b""
        self.request = (
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(*header) for header in headers))
            + _frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(body)) + body)
        )

    def receive(self, data: bytes) -> bytes:
        """Bytes from the server; returns what to answer them with."""
        self._received += data
        answer = b""
        while not self.is_done and len(self._received) >= 9:
            length = int.from_bytes(self._received[:3])
            if length > _FRAME_BYTES_MAX:
                self.is_done = True
            if len(self._received) < 9 + length:
                break
            kind, flags = self._received[3], self._received[4]
            payload = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                answer += _frame(kind, _ACK, 0, payload if kind == _PING else b"")
            elif kind == _DATA:
                self._message += payload[1 : length - payload[0]] if flags & _PADDED and payload else payload
            if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self.is_done = True
        self.is_serving = self._message[5:] == _SERVING
        return answer


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing, name and value as plain texts (RFC 7541 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(value: int) -> bytes:
    """Seven bits a byte, the least first: the same in HPACK and in protobuf."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
