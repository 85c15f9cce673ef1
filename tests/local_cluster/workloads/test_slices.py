"""Slices of a Service that is deleted and made again under its name: its successor's do not go with the former."""

from kube.client import Client
from kube.informer import Informer
from kube.models.core import EndpointPort, Endpoints
from kube.models.discovery import Endpoint, EndpointConditions, EndpointSlice
from kube.models.meta import ObjectMeta
from local_cluster.workloads.backends import SliceContent
from local_cluster.workloads.slices import MANAGED_BY_LABEL, SLICE_INDEX, SliceWriter, slice_services
from tests.support.api import running_api_server
from tests.support.processes import eventually

MANAGER = "manager"


async def test_a_successor_of_the_same_name_gets_slices_of_its_own() -> None:
    async with running_api_server() as api, Client(api.config) as client:
        slices = Informer(client, EndpointSlice)
        slices.add_index(SLICE_INDEX, slice_services)
        await slices.start()
        writer = SliceWriter(client, slices, MANAGER)
        contents = [
            SliceContent(
                endpoints=[Endpoint(addresses=["127.80.0.2"], conditions=EndpointConditions(ready=True))],
                ports=[EndpointPort(name="http", port=8012)],
            )
        ]
        meta = ObjectMeta(name="web", namespace="default")

        async def written_for(owner: Endpoints) -> EndpointSlice:
            await writer.write("default", "web", contents, labels={}, owner=owner.owner_reference())
            (found,) = (
                await client.list(EndpointSlice, "default", label_selector=f"{MANAGED_BY_LABEL}={MANAGER}")
            ).items
            return found

        former = await client.create(Endpoints(metadata=meta))
        first = await written_for(former)
        assert (await written_for(former)).name == first.name
        await client.delete(Endpoints, "web", "default")
        second = await written_for(await client.create(Endpoints(metadata=meta)))
        assert second.metadata.uid != first.metadata.uid
        assert [owner.uid for owner in second.metadata.owner_references] != [former.metadata.uid]
        assert [endpoint.addresses for endpoint in second.endpoints] == [["127.80.0.2"]]

        async def only_the_second_is_known() -> bool:
            return [piece.name for piece in slices.list("default")] == [second.name]

        await eventually(only_the_second_is_known)
        await slices.stop()
