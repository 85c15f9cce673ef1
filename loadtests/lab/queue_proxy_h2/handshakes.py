"""TLS: a certificate for the proxies, and connections one behind the other, with a session to resume or without."""

import socket
import ssl
from pathlib import Path
from typing import Final

from loadtests.lab.queue_proxy.subjects import HOST, TLS_PORT, LabError
from local_cluster.apiserver.certificates import CertificateAuthority

__all__ = ["authority", "certificates", "connect"]

_AUTHORITY: Final = "ca.crt"
_TIMEOUT_S: Final = 10.0
_REQUEST: Final = b"GET /hello HTTP/1.1\r\nHost: lab.default.example.com\r\nConnection: close\r\n\r\n"


def certificates(scratch: Path) -> Path:
    """Return a folder with `tls.crt` and `tls.key`, an elliptic curve's, and `ca.crt`; the same for all rounds."""
    folder = scratch / "certificates"
    if not folder.exists():
        folder.mkdir()
        issuer = CertificateAuthority.create()
        issued = issuer.issue_server(["data-plane.knative.dev"], [HOST])
        (folder / _AUTHORITY).write_bytes(issuer.certificate_pem)
        (folder / "tls.crt").write_bytes(issued.certificate_pem)
        (folder / "tls.key").write_bytes(issued.key_pem)
    return folder


def authority(scratch: Path) -> bytes:
    """Return who has issued them, in PEM."""
    return (certificates(scratch) / _AUTHORITY).read_bytes()


def connect(count: int, *, is_resuming: bool) -> int:
    """Open so many connections with a request each; return how many were resumed. Blocks.

    Raises `LabError` when one is not answered.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session: ssl.SSLSession | None = None
    resumed = 0
    for _ in range(count):
        try:
            with (
                socket.create_connection((HOST, TLS_PORT), timeout=_TIMEOUT_S) as raw,
                context.wrap_socket(raw, server_hostname=HOST, session=session) as sock,
            ):
                sock.sendall(_REQUEST)
                data = b""
                while piece := sock.recv(65_536):
                    data += piece
                resumed += bool(sock.session_reused)
                # Tickets come behind the handshake, so a session can be kept only when something was read.
                session = sock.session if is_resuming else None
        except OSError as error:
            raise LabError(f"a connection in TLS failed: {error}") from error
        if not data.startswith(b"HTTP/1.1 200 "):
            raise LabError(f"expected 200, got {data[:120]!r}")
    return resumed
