"""Spec section 13.3: HTTP probes with scheme HTTPS, whose app needs a certificate that the system trusts."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.queue_proxy import running_queue_proxy


async def verdict(tmp_path: Path, *, is_trusted: bool, address: str = "127.0.0.1", scheme: str = "HTTPS") -> int:
    """Probe an app with a certificate for `address` at 127.0.0.1; return the status that the prober gets."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(address))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        is_first = head.startswith(b"GET /healthz ")
        status = b"302 Found\r\nLocation: /moved" if is_first else b"200 OK"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    get = {"host": "127.0.0.1", "port": port, "path": "/healthz", "scheme": scheme}
    probe = json.dumps({"httpGet": get, "periodSeconds": 1, "timeoutSeconds": 5})
    trusted: dict[str, Any] = {"SSL_CERT_FILE": str(authority.ca_file)} if is_trusted else {}
    async with server, running_queue_proxy(port, SERVING_READINESS_PROBE=probe, **trusted) as proxy:
        return (await proxy.probe()).status


async def test_an_app_that_the_system_trusts_is_ready(tmp_path: Path) -> None:
    assert await verdict(tmp_path, is_trusted=True) == 200


@pytest.mark.parametrize(
    ("is_trusted", "address", "scheme"),
    [(False, "127.0.0.1", "HTTPS"), (True, "127.0.0.2", "HTTPS"), (True, "127.0.0.1", "HTTP")],
)
async def test_another_is_not(tmp_path: Path, is_trusted: bool, address: str, scheme: str) -> None:
    assert await verdict(tmp_path, is_trusted=is_trusted, address=address, scheme=scheme) == 503
