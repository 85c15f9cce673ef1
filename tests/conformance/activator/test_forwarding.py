"""Statements 15 to 23, as far as they concern HTTP/1.1: what the pod sees, and what becomes of its failures."""

import asyncio

import pytest

from tests.conformance.activator.world import DEADLINE_S, Pod, activator, read_head, surroundings


async def test_statements_15_to_18_the_pod_sees_edited_headers() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get(
            method="POST",
            path="/a//b?c=%20",
            host="client.example.com",
            headers=[("K-Proxy-Request", "b"), ("K-Network-Hash", "h"), ("X-Forwarded-For", "1.2.3.4"), ("X-A", "1")],
            body=b"hello",
        )
        (seen,) = pod.requests
        assert seen.first_line == "POST /a//b?c=%20 HTTP/1.1"
        assert seen.body == b"hello"
        assert seen.all("host") == [f"{pod.host}:{pod.port}"]
        assert seen.all("k-original-host") == ["client.example.com"]
        assert seen.all("k-proxy-request") == ["activator"]
        assert seen.all("x-a") == ["1"]
        assert seen.get("x-forwarded-for") == "1.2.3.4, 127.0.0.1"
        for absent in ("knative-serving-revision", "knative-serving-namespace", "k-network-hash", "forwarded"):
            assert seen.all(absent) == []


async def test_statement_16_a_clients_own_original_host_is_kept() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get(headers=[("K-Original-Host", "a")])
        assert pod.requests[0].all("k-original-host") == ["a"]


async def test_statement_20_with_pass_through_the_mesh_is_told_which_pod() -> None:
    async with activator(network={"enable-mesh-pod-addressability": "true"}) as world:
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get()
        for seen in (pod.probes[0], pod.requests[0]):
            assert seen.all("host") == ["rev-private.ns"]
            assert seen.all("k-passthrough-lb") == ["true"]


async def test_statement_21_if_strict_a_pod_that_refuses_gives_502_and_no_other_pod_is_asked() -> None:
    async with activator(KNUV_STRICT_COMPAT="1") as world:
        # cc 0 chooses at random, so the other pod must not have been chosen in the first place.
        await world.revision("packed", cc=1)
        pod, other = await world.pod(10), await world.pod(11)
        await world.endpoints(name="packed", ready=[pod, other])
        assert (await world.get(revision=("ns", "packed"))).body == b"pod-10"
        await other.until(lambda pod: bool(pod.probes), "was not probed")
        await pod.stop()
        assert (await world.get(revision=("ns", "packed"))).status == 502
        assert other.requests == []


async def test_statement_22_a_pod_that_closes_mid_body_gives_an_incomplete_response() -> None:
    async with activator() as world:
        pod = await world.pod(10)
        pod.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        await world.endpoints(ready=[pod])
        reader, _ = await world.send()
        async with asyncio.timeout(DEADLINE_S):
            assert (await read_head(reader)).status == 200
            with pytest.raises(asyncio.IncompleteReadError) as broken:
                await reader.readexactly(10)
        assert broken.value.partial == b"hello"


@pytest.mark.parametrize("annotations", [{}, {"features.knative.dev/http-full-duplex": "Enabled"}], ids=["", "asked"])
async def test_statement_75_a_response_may_begin_before_the_request_is_complete(annotations: dict[str, str]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        if head.get("k-network-probe"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nqueue")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
            for _ in range(2):
                writer.write(await reader.readexactly(3))
        await reader.read()
        writer.close()

    async with surroundings(network={}) as world:
        await world.revision(annotations=annotations)
        await world.start()
        server = await asyncio.start_server(echo, f"{world.subnet}.10", 0)
        try:
            await world.endpoints(ready=[Pod(f"{world.subnet}.10", "echo", port=server.sockets[0].getsockname()[1])])
            reader, writer = await world.send(method="POST", headers=[("Content-Length", "6")])
            async with asyncio.timeout(DEADLINE_S):
                assert (await read_head(reader)).status == 200
                writer.write(b"one")
                assert await reader.readexactly(3) == b"one"
                writer.write(b"two")
                assert await reader.readexactly(3) == b"two"
        finally:
            await world.end()
            server.close()
            await server.wait_closed()


async def test_statement_23_the_body_is_not_read_before_there_is_a_pod() -> None:
    async with activator() as world:
        reader, writer = await world.send(method="POST", headers=[("Content-Length", str(1 << 30))])
        # Whatever the kernel's buffers hold, it is far less than what is offered.
        offered = 0
        chunk = b"x" * (1 << 20)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while offered < 256 << 20:
                    writer.write(chunk)
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                    offered += len(chunk)
        except TimeoutError:
            pass
        assert offered < 64 << 20, "the activator reads on"
        assert not reader.at_eof()
