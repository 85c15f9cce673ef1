"""Statements 63 to 68: TLS from clients, and to pods."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kube.models.core import ConfigMap, Secret
from kube.models.meta import ObjectMeta
from tests.conformance.activator.world import DEADLINE_S, SYSTEM, Message, Pod, World, read_message, surroundings
from tests.support.certificates import Authority
from tests.support.http2 import Peer, running_app
from tests.support.processes import eventually

SECRET = "routing-serving-certs"
PORT = 8112
NAMES = ("data-plane.knative.dev", "kn-user-ns")
ON = {"system-internal-tls": "enabled"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def data_of(authority: Authority, name: str) -> dict[str, str]:
    """The Secret's data, with a certificate of that name for us."""
    certificate, key = authority.issue("127.0.0.1", name, NAMES)
    return {"ca.crt": encoded(authority.ca_file), "tls.crt": encoded(certificate), "tls.key": encoded(key)}


@asynccontextmanager
async def secured(authority: Authority, network: dict[str, str] | None = None) -> AsyncIterator[World]:
    """A running activator with TLS that knows Revision `rev` in `ns`."""
    async with surroundings(network=ON | (network or {})) as world:
        metadata = ObjectMeta(name=SECRET, namespace=SYSTEM)
        await world.client.create(Secret(metadata=metadata, data=data_of(authority, "ours")))
        await world.revision()
        await world.start()
        yield world


class TlsPod(Pod):
    """A pod that answers over TLS on the port for it, and probes in plaintext."""

    def __init__(self, host: str, name: str, context: ssl.SSLContext) -> None:
        super().__init__(host, name)
        self._context = context

    async def start(self) -> None:
        await super().start()
        self.tls = await asyncio.start_server(self._accept, self.host, PORT, ssl=self._context)

    async def stop(self) -> None:
        self.tls.close()
        await super().stop()


def context_of(authority: Authority, host: str, names: Sequence[str] = NAMES) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(host, "pod", names))
    return context


async def tls_pod(world: World, last: int, authority: Authority, names: Sequence[str] = NAMES) -> TlsPod:
    host = f"{world.subnet}.{last}"
    pod = TlsPod(host, f"pod-{last}", context_of(authority, host, names))
    await pod.start()
    world.stack.push_async_callback(pod.stop)
    return pod


async def shown_name(world: World, authority: Authority) -> str:
    """The name in the certificate that our port shows."""
    _, writer = await opened(world, authority)
    subject = writer.get_extra_info("peercert")["subject"]
    return str(dict(pair[0] for pair in subject)["commonName"])


async def opened(world: World, authority: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=authority.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    reader, writer = await asyncio.open_connection(world.address, PORT, ssl=context, server_hostname=NAMES[0])

    async def leave() -> None:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    world.stack.push_async_callback(leave)
    return reader, writer


async def get_inside_tls(world: World, authority: Authority) -> Message:
    reader, writer = await opened(world, authority)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nKnative-Serving-Namespace: ns\r\nKnative-Serving-Revision: rev\r\n\r\n")
    async with asyncio.timeout(10):
        return await read_message(reader)


async def test_statement_63_requests_go_over_tls_and_probes_in_plaintext(authority: Authority) -> None:
    async with secured(authority) as world:
        pod = await tls_pod(world, 10, authority)
        await world.endpoints(ready=[pod])
        assert (await world.get()).body == b"pod-10"
        assert pod.requests[0].get("host") == f"{pod.host}:{PORT}"
        assert pod.probes
        assert await shown_name(world, authority) == "ours"
        assert (await get_inside_tls(world, authority)).body == b"pod-10"
        assert pod.connections == 1  # one connection, used again; and it is the one over TLS
        assert (await world.get()).body == b"pod-10"


async def test_statement_63_with_a_cluster_address_tls_is_on_443(authority: Authority) -> None:
    async with secured(authority, {"mesh-compatibility-mode": "enabled"}) as world:
        plain = await world.pod(11)
        context = context_of(authority, plain.host)
        server = await asyncio.start_server(plain._accept, plain.host, 443, ssl=context)
        world.stack.callback(server.close)
        await world.endpoints(ready=[plain])
        await world.cluster_address(plain)
        assert (await world.get()).body == b"pod-11"
        assert plain.requests[0].get("host") == f"{plain.host}:443"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("data-plane.knative.dev",), b'san "kn-user-ns" does not have a matching name in [data-plane.knative.dev]'),
        (("data-plane.knative.dev", "kn-user-other"), b'san "kn-user-ns" does not have'),
        (("kn-user-ns",), b"data-plane.knative.dev"),
    ],
)
async def test_statement_64_a_pod_that_is_not_who_it_has_to_be_is_502(
    authority: Authority, names: Sequence[str], said: bytes
) -> None:
    async with secured(authority) as world:
        pod = await tls_pod(world, 10, authority, names)
        await world.endpoints(ready=[pod])
        response = await world.get()
        assert response.status == 502
        assert said in response.body
        assert pod.requests == []


async def test_statements_64_and_65_an_authority_is_trusted_once_a_bundle_has_it(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path, "other")
    async with secured(authority) as world:
        pod = await tls_pod(world, 10, other)
        await world.endpoints(ready=[pod])
        assert (await world.get()).status == 502
        broken = ObjectMeta(name="broken", namespace=SYSTEM, labels={"networking.knative.dev/trust-bundle": "true"})
        await world.client.create(ConfigMap(metadata=broken, data={"a": "no certificate"}))
        bundle = ObjectMeta(name="bundle", namespace=SYSTEM, labels={"networking.knative.dev/trust-bundle": "true"})
        await world.client.create(ConfigMap(metadata=bundle, data={"any": other.ca_file.read_text()}))

        while (await world.get()).status != 200:
            pass  # each asks anew, and the test has its own limit of time
        assert (await world.logged("trust_bundle_ignored"))["config_map"] == f"{SYSTEM}/broken"


async def test_statement_66_a_new_certificate_is_shown_and_one_that_is_none_is_not(authority: Authority) -> None:
    async with secured(authority) as world:
        await world.client.patch(Secret, SECRET, SYSTEM, {"data": data_of(authority, "new")})

        while await shown_name(world, authority) != "new":
            pass
        garbage = {"tls.key": base64.b64encode(b"garbage").decode()}
        await world.client.patch(Secret, SECRET, SYSTEM, {"data": garbage})
        await world.logged("certificate_kept")
        assert await shown_name(world, authority) == "new"


async def test_statement_67_without_the_secret_it_does_not_start(authority: Authority) -> None:
    async with surroundings(network=ON) as world:
        process = await world.spawn()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 1
        await eventually(lambda: world.stderr)
        assert SECRET in world.stderr[0]


async def test_statement_68_http2_reaches_a_pod_over_tls_without_alpn(authority: Authority) -> None:
    async with secured(authority, {"mesh-compatibility-mode": "disabled"}) as world, running_app() as app:
        host = f"{world.subnet}.10"
        pod = Pod(host, "app", port=app.port)
        server = await asyncio.start_server(app.serve, host, PORT, ssl=context_of(authority, host))
        world.stack.callback(server.close)
        await world.endpoints(ready=[pod])
        client = await Peer.connect(world.address, 8012)
        world.stack.callback(client.close)
        client.request(1, ("knative-serving-namespace", "ns"), ("knative-serving-revision", "rev"))
        peer = await app.accepted()
        fields, _, stream_id = await peer.fields()
        assert fields[":scheme"] == "https"
        assert fields[":authority"] == f"{host}:{PORT}"
        peer.head(stream_id, (":status", "200"))
        peer.data(stream_id, b"inside", done=True)
        assert await client.response(1) == (200, b"inside")
