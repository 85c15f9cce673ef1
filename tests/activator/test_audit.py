"""The audit against a real API server: a snapshot that went wrong is found, named and repaired."""

import asyncio
from dataclasses import replace

from activator.loads import RevisionKey
from activator.pod_states import MeshMode, ProbeSettings
from activator.revisions import Revisions
from kube.client import Client
from kube.models.core import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Namespace
from kube.models.meta import ObjectMeta
from kube.models.serving import Revision
from proxies.logs import Logger
from proxies.pool import Pool
from tests.support.api import running_api_server
from tests.support.processes import eventually

KEY = RevisionKey(b"ns", b"rev")
PODS = ("10.0.0.1:8012", "10.0.0.2:8012")


async def create_revision(client: Client) -> None:
    await client.create(Namespace(metadata=ObjectMeta(name="ns")))
    await client.create(Revision(metadata=ObjectMeta(name="rev", namespace="ns"), spec={"containerConcurrency": 1}))
    labels = {
        "serving.knative.dev/revision": "rev",
        "serving.knative.dev/revisionUID": "uid",
        "networking.internal.knative.dev/serviceType": "Private",
    }
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=pod.partition(":")[0]) for pod in PODS],
        ports=[EndpointPort(name="http", port=8012)],
    )
    metadata = ObjectMeta(name="rev-private", namespace="ns", labels=labels)
    await client.create(Endpoints(metadata=metadata, subsets=[subset]))


async def test_a_snapshot_that_went_wrong_is_named_and_repaired() -> None:
    loop = asyncio.get_running_loop()
    async with running_api_server() as api, Client(api.config) as client:
        await create_revision(client)
        pool = Pool(loop)
        revisions = Revisions(
            loop,
            client,
            pool,
            own_address="10.0.0.9",
            # Ready pods are trusted unprobed.
            probe_settings=ProbeSettings(mesh_mode=MeshMode.DISABLED),
            probe_timeout_s=1.0,
            held_max=10,
            held_bytes_max=1000,
            retries=True,
            spreads=True,
            check_s=0.0,
            tls=None,
            log=Logger("test"),
        )
        await revisions.start()
        try:
            await eventually(lambda: KEY in revisions.by_key)
            active = revisions.by_key[KEY]
            await eventually(lambda: active.throttler.snapshot.pods == PODS)
            assert await revisions.audit() == []
            active.update(replace(active.throttler.snapshot, pods=PODS[:1]))
            (difference,) = await revisions.audit()
            assert "ns/rev" in difference
            assert active.throttler.snapshot.pods == PODS
            del revisions.by_key[KEY]
            assert len(await revisions.audit()) == 1
            assert revisions.by_key[KEY].throttler.snapshot.pods == PODS
            assert await revisions.audit() == []
        finally:
            await revisions.stop()
            await pool.close()
