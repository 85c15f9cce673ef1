"""Statements 94 to 96 and what else concerns a process: TLS, metrics, who may send, the drain, live settings."""

import asyncio
import base64
import json
import re
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kube.models.core import ConfigMap, Secret
from kube.models.eventpolicy import EventPolicy
from kube.models.messaging import Subscription
from kube.models.meta import ObjectMeta
from kube.names import child_name
from tests.broker.issuer import Issuer
from tests.conformance.eventing_broker.world import (
    EVENT,
    SYSTEM,
    TTL,
    Process,
    World,
    environment,
    running_sink,
)
from tests.support.certificates import Authority
from tests.support.h2_peers import Http2Client
from tests.support.http import Call, Client, fetch, running_app
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def over_tls(world: World, process: Process, authority: Authority, path: str, headers: list[str]) -> int:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    reader, writer = await asyncio.open_connection(process.host, 8443, ssl=context)
    client = Client(reader, writer)
    try:
        await client.request(path, method="POST", headers=headers)
        return (await client.response()).status
    finally:
        client.close()


async def over_http2(world: World, authority: Authority, broker: str) -> None:
    """The TLS port speaks HTTP/2, too."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.set_alpn_protocols(["h2"])
    client = await Http2Client.open(world.ingress.host, 8443, tls=context)
    try:
        pairs = [line.partition(": ")[::2] for line in EVENT]
        large = await client.fetch(f"/ns/{broker}", *pairs, method="POST", body=bytes(300_000))
        small = await client.fetch(f"/ns/{broker}", *pairs, method="POST", body=b"x")
        wrong = await client.fetch(f"/ns/{broker}", *pairs[1:], method="POST", body=b"x")
        assert [response.status for response in (large, small, wrong)] == [202, 202, 400]
    finally:
        client.close()


async def test_statement_94_which_port_serves_events(world: World, tmp_path: Path) -> None:
    async with running_sink() as channel:
        broker, trigger = await world.broker(channel), await world.trigger(channel)
        authority = Authority(tmp_path)
        for process in (world.ingress, world.filter):
            certificate, key = authority.issue(process.host, process.name)
            metadata = ObjectMeta(name=f"mt-broker-{process.name}-server-tls", namespace=SYSTEM)
            data = {"tls.crt": encoded(certificate), "tls.key": encoded(key)}
            await world.client.create(Secret(metadata=metadata, data=data))
            await process.logged("tls_listening")
        places = [
            (world.ingress, f"/ns/{broker.name}", EVENT),
            (world.filter, world.path(trigger), [*EVENT, TTL]),
        ]
        try:
            for mode, plain, secure in (("disabled", 202, 404), ("Permissive", 202, 202), ("strict", 404, 202)):
                await world.features(transport_encryption=mode)
                for process, path, headers in places:
                    response = await fetch(process.host, 8080, path, method="POST", headers=headers)
                    assert (response.status, await over_tls(world, process, authority, path, headers)) == (
                        plain,
                        secure,
                    ), (mode, process.name)
                    # The kubelet is answered at both, whatever holds.
                    agent = ["User-Agent: kube-probe/1.30"]
                    assert (await fetch(process.host, 8080, "/", headers=agent)).status == 200
                    assert await over_tls(world, process, authority, "/", agent) == 200
            await over_http2(world, authority, broker.name)
            other = Authority(tmp_path, "other")
            certificate, key = other.issue(world.ingress.host, "renewed")
            patch = {"data": {"tls.crt": encoded(certificate), "tls.key": encoded(key)}}
            await world.client.patch(Secret, "mt-broker-ingress-server-tls", SYSTEM, patch)

            async def is_renewed() -> bool:
                try:
                    return await over_tls(world, world.ingress, other, "/", []) == 404
                except ssl.SSLCertVerificationError:
                    return False

            await eventually(is_renewed)
        finally:
            await world.features()


async def test_a_wrong_flag_changes_nothing(world: World) -> None:
    count = len([line for line in world.ingress.log if line["message"] == "features_kept"])
    patch = [{"op": "add", "path": "/data", "value": {"transport-encryption": "yes"}}]
    await world.client.patch(ConfigMap, "config-features", SYSTEM, patch, type="json")
    line = await world.ingress.logged("features_kept", count + 1)
    assert "transport-encryption='yes': expected disabled or permissive or strict" in line["problem"]
    assert (await world.produce("/ns/unknown")).status == 404
    await world.features()


async def test_statement_95_metrics(world: World) -> None:
    async with running_sink() as sink:
        broker, trigger = await world.broker(sink), await world.trigger(sink, spec={"broker": "some"})
        assert (await world.produce(broker)).status == 202
        assert (await world.dispatch(trigger)).status == 202
        sink.status = 404
        assert (await world.produce(broker)).status == 500
        assert (await world.dispatch(trigger)).status == 404
        for process, labels in (
            (world.ingress, {"kn_broker_name": broker.name, "messaging_destination_name": sink.url}),
            (
                world.filter,
                {"kn_broker_name": "some", "messaging_destination_name": f"trigger:{trigger.name}.ns"},
            ),
        ):
            text = (await fetch(process.host, 9092, "/metrics")).body.decode()
            labels |= {"kn_broker_namespace": "ns", "cloudevents_type": "a", "messaging_system": "knative"}
            labels |= {"url_scheme": "http", "messaging_operation_name": "send"}
            wanted = [f'{name}="{value}"' for name, value in labels.items()]
            lines = [
                line
                for line in text.splitlines()
                if line.startswith("kn_eventing_dispatch_duration_seconds_bucket{")
                and all(each in line for each in wanted)
            ]
            bounds = [
                float(re.findall(r'le="([^"]+)"', line)[0])
                for line in lines
                if 'http_response_status_code="202"' in line
            ]
            assert bounds[:-1] == [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
            # The ingress tells only of what its channel took.
            refused = any('http_response_status_code="404"' in line for line in lines)
            assert refused is (process is world.filter)
            assert "http_server_request_duration_seconds_bucket" in text
            assert ("kn_eventing_process_duration_seconds" in text) is (process is world.filter)


@asynccontextmanager
async def issuing(world: World, **flags: str) -> AsyncIterator[Issuer]:
    """OIDC is on, and this is who issues tokens."""
    issuer = Issuer()

    async def answer(call: Call) -> None:
        url = f"http://127.0.0.1:{app.port}"
        if call.target == "/.well-known/openid-configuration":
            content: Any = {"issuer": issuer.url, "jwks_uri": f"{url}/keys"}
            await call.respond(200, json.dumps(content).encode())
        else:
            await call.respond(200, issuer.jwks())

    async with running_app(answer) as app:
        base_url = f"http://127.0.0.1:{app.port}/"
        await world.features(authentication_oidc="enabled", oidc_discovery_base_url=base_url, **flags)
        try:
            yield issuer
        finally:
            await world.features()


def bearer(token: bytes) -> list[str]:
    return [*EVENT, f"Authorization: Bearer {token.decode()}"]


async def test_statement_96_who_may_send_to_a_broker(world: World) -> None:
    async with running_sink() as channel, issuing(world) as issuer:
        audience = "eventing.knative.dev/broker/ns/one"
        address = {"url": "http://ingress", "audience": audience}
        broker = await world.broker(channel, address=address)
        ours, theirs = "system:serviceaccount:ns:me", "system:serviceaccount:other:me"
        for headers, status in (
            (EVENT, 401),
            ([*EVENT, "Authorization: Bearer x.y.z"], 401),
            (bearer(issuer.token(ours, "another")), 401),
            (bearer(issuer.token(ours, audience, exp=1)), 401),
            (bearer(Issuer().token(ours, audience)), 401),
            (bearer(issuer.token(theirs, audience)), 403),
            (bearer(issuer.token("system:serviceaccount:nsx:me", audience)), 403),
            (bearer(issuer.token(ours, audience)), 202),
            (bearer(issuer.token(ours, audience, "more", kid="rsa")), 202),
            ([*EVENT, f"Authorization: {issuer.token(ours, audience).decode()}"], 202),
        ):
            response = await world.produce(broker, headers)
            assert (response.status, response.values("www-authenticate")) == (status, []), headers
        # Unknown beats unauthorized, invalid beats both.
        assert (await world.produce("/ns/unknown")).status == 404
        assert (await world.produce(broker, EVENT[1:])).status == 400
        nameless = await world.broker(channel, address={"url": "http://ingress"})
        assert (await world.produce(nameless, bearer(issuer.token(ours, audience)))).status == 500
        addressless = await world.broker(channel)
        assert (await world.produce(addressless, bearer(issuer.token(ours, "")))).status == 401
        call, _ = await channel.call()
        assert call.values("authorization") == []


@pytest.mark.parametrize(("mode", "status"), [("allow-all", 202), ("deny-all", 403)])
async def test_96_the_default_for_what_has_no_policy(world: World, mode: str, status: int) -> None:
    async with running_sink() as channel, issuing(world, default_authorization_mode=mode) as issuer:
        broker = await world.broker(channel, address={"url": "http://x", "audience": "a"})
        token = issuer.token("system:serviceaccount:other:me", "a")
        assert (await world.produce(broker, bearer(token))).status == status


async def test_96_event_policies(world: World) -> None:
    async with running_sink() as channel, issuing(world) as issuer:
        policies = {
            "filtered": (["system:serviceaccount:other:*"], [{"exact": {"type": "a"}}]),
            "second": (["System:ServiceAccount:Other:Me", "plain"], []),
        }
        for name, (subjects, filters) in policies.items():
            policy = EventPolicy(metadata=ObjectMeta(name=name, namespace="ns"))
            policy.spec.filters = filters
            await world.create(policy, {"from": subjects})
        status = {"address": {"url": "http://x", "audience": "a"}}
        applied = [{"name": name, "apiVersion": "eventing.knative.dev/v1alpha1"} for name in policies]
        broker = await world.broker(channel, **status, policies=applied)
        second = await world.broker(channel, **status, policies=applied[1:])
        missing = await world.broker(channel, **status, policies=[*applied, {"name": "missing"}])
        other_type = [*EVENT[:3], "ce-type: b"]
        theirs = f"Authorization: Bearer {issuer.token('system:serviceaccount:other:me', 'a').decode()}"
        plain = f"Authorization: Bearer {issuer.token('plain', 'a').decode()}"
        ours = f"Authorization: Bearer {issuer.token('system:serviceaccount:ns:me', 'a').decode()}"
        for target, headers, wanted in (
            (broker, [*EVENT, theirs], 202),
            # The first that knows the subject decides.
            (broker, [*other_type, theirs], 403),
            (broker, [*other_type, plain], 202),
            (broker, [*EVENT, ours], 403),
            (second, [*other_type, theirs], 202),
            (missing, [*EVENT, theirs], 500),
        ):
            assert (await world.produce(target, headers)).status == wanted, headers


async def test_96_only_its_own_subscription_may_ask_for_a_trigger(world: World) -> None:
    async with running_sink() as subscriber, issuing(world) as issuer:
        trigger = await world.trigger(subscriber, spec={"broker": "some"})
        subject = "system:serviceaccount:ns:sub"
        headers = [*EVENT, TTL, f"Authorization: Bearer {issuer.token(subject, 'mt-broker-filter').decode()}"]
        assert (await world.dispatch(trigger, headers)).status == 404
        name = child_name(f"some-{trigger.name}-", trigger.metadata.uid)
        manifest = {
            "apiVersion": "messaging.knative.dev/v1",
            "kind": "Subscription",
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {
                "channel": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "c"},
                "subscriber": {"uri": "http://example.com"},
            },
        }
        await world.client.raw("POST", Subscription.RESOURCE.path("ns"), body=json.dumps(manifest).encode())

        async def answers(status: int) -> bool:
            return (await world.dispatch(trigger, headers)).status == status

        await eventually(lambda: answers(500))
        created = await world.client.get(Subscription, name, "ns")
        await world.client.patch_status(created, {"auth": {"serviceAccountName": "sub"}})
        await eventually(lambda: answers(202))
        assert (await world.dispatch(trigger)).status == 401
        wrong = issuer.token("system:serviceaccount:ns:other", "mt-broker-filter").decode()
        assert (await world.dispatch(trigger, [*EVENT, TTL, f"Authorization: Bearer {wrong}"])).status == 403
        foreign = issuer.token(subject, "mt-broker-ingress").decode()
        assert (await world.dispatch(trigger, [*EVENT, TTL, f"Authorization: Bearer {foreign}"])).status == 401


async def test_tokens_are_shown_to_whom_asks_for_them(world: World) -> None:
    async with running_sink() as sink:
        audience = {"knative.dev/channelAudience": "messaging.knative.dev/x"}
        broker = await world.broker(sink, annotations_=audience)
        for account, namespace in (("mt-broker-ingress-oidc", SYSTEM), ("me", "ns")):
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            await world.client.raw("POST", path, body=json.dumps(body).encode())
        assert (await world.produce(broker)).status == 202
        call, _ = await sink.call()
        assert re.fullmatch(r"Bearer \S+", call.values("authorization")[0])
        status = {"subscriberAudience": "them", "auth": {"serviceAccountName": "me"}}
        trigger = await world.trigger(sink, **status)
        assert (await world.dispatch(trigger)).status == 202
        call, _ = await sink.call(1)
        assert re.fullmatch(r"Bearer \S+", call.values("authorization")[0])
        status["auth"] = {"serviceAccountName": "nobody"}
        homeless = await world.trigger(sink, **status)
        assert (await world.dispatch(homeless)).status == 500
        assert len(sink.bodies) == 2


async def test_the_drain_waits_for_quiet(world: World) -> None:
    host = f"{world.subnet}.9"
    async with running_sink() as sink:
        trigger = await world.trigger(sink)
        process = Process("filter", host, environment("filter", host, world.api, KNUV_DRAIN_SECONDS="0.6"))
        try:
            await process.start()
            sink.gate.clear()
            client = await Client.open(host, 8080)
            await client.request(world.path(trigger), method="POST", headers=[*EVENT, TTL])
            await sink.call()
            process.process.send_signal(signal.SIGTERM)
            await process.logged("draining")
            agent = ["User-Agent: kube-probe/1.30"]
            probe = await fetch(host, 8080, "/", headers=agent)
            assert (probe.status, probe.body) == (503, b"shutting down\n")
            assert (await fetch(host, 8080, "/triggers/ns/unknown/uid", method="POST", headers=EVENT)).status == 404
            sink.gate.set()
            assert (await client.response()).status == 202
            client.close()
            async with asyncio.timeout(20):
                assert await process.process.wait() == 0
        finally:
            await process.stop()
