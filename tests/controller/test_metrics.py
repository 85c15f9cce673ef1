"""What a scraper hears of a controller, and `docs/controller.md` as true as the code."""

from pathlib import Path

import pytest

from controller.app import App
from controller.config import Config
from controller.gateway_api.app import CLASS as GATEWAY_CLASS
from controller.together import make_controllers
from kube.models import serving
from kube.models.cert_manager import CertManagerCertificate, Challenge
from kube.models.core import ConfigMap, Namespace
from kube.models.gateway_api import Gateway, HTTPRoute, ReferenceGrant
from kube.models.meta import ObjectMeta
from kube.queue_metrics import add_queue_metrics
from kube.ready_metrics import add_ready_metrics
from local_cluster.subnet import Subnet
from proxies.metrics.exposition import metric_name
from proxies.metrics.instruments import Registry
from tests.controller.cluster import SYSTEM, Kn, cluster, service
from tests.controller.custom_kinds import define
from tests.gateway.objects import NAMESPACE as INGRESSES
from tests.gateway.objects import ingress, rule
from tests.support.processes import eventually
from tests.support.prometheus import documented, scraped

PAGE = Path(__file__).parents[2] / "docs" / "controller.md"


async def test_queues_reconciles_and_readiness_are_told() -> None:
    subnet = Subnet.claim()
    address = str(subnet.network.network_address + 2)
    async with cluster(observability={"metrics-protocol": "prometheus"}) as (api, client, peers):
        app = App(Config(api=api.config, system_namespace=SYSTEM, bind_address=address))
        try:
            await app.start()
            kn = Kn(client, app, peers, [])
            await kn.create(serving.Service, service("hello"))
            await kn.until_ready("hello")
            told = await scraped(f"{address}:9090")
        finally:
            await app.stop()
            subnet.release()
    assert told.value("kn_workqueue_adds_total", name="service") >= 2
    assert told.value("kn_workqueue_depth", name="route") == 0
    assert told.value("knuv_reconcile_duration_seconds_count", name="revision", result="success") >= 2
    for kind in ("Service", "Revision", "Route", "Configuration"):
        assert told.value("knuv_ready_duration_seconds_count", kind=kind) >= 1


LOOPS = {
    "serving": {"service", "route"},
    "eventing": {"broker", "trigger"},
    "cert-manager": {"cert-manager"},
    "gateway-api": {"gateway-api"},
}


@pytest.mark.parametrize("controllers", [*LOOPS, ",".join(LOOPS)])
async def test_each_controller_tells_of_its_queues_and_several_do_at_one_port(controllers: str) -> None:
    subnet = Subnet.claim()
    address = str(subnet.network.network_address + 2)
    namespace = "knative-eventing" if controllers == "eventing" else SYSTEM
    async with cluster(observability={"metrics-protocol": "prometheus"}) as (api, client, _peers):
        if namespace != SYSTEM:
            await client.create(Namespace(metadata=ObjectMeta(name=namespace)))
            told = ObjectMeta(name="config-observability", namespace=namespace)
            await client.create(ConfigMap(metadata=told, data={"metrics-protocol": "prometheus"}))
        await define(client, CertManagerCertificate, Challenge, HTTPRoute, Gateway, ReferenceGrant)
        environ = {
            "KNUV_CONTROLLERS": controllers,
            "KUBECONFIG": str(api.kubeconfig),
            "SYSTEM_NAMESPACE": namespace,
            "KNUV_BIND_ADDRESS": address,
        }
        running = make_controllers(environ)
        try:
            await running.start()
            if "gateway-api" in controllers:
                await client.create(Namespace(metadata=ObjectMeta(name=INGRESSES)))
                await client.create(ingress("i", rule("i.example.com"), class_=GATEWAY_CLASS))

                async def is_told() -> bool:
                    found = await scraped(f"{address}:9090")
                    labels = {"name": "gateway-api", "result": "success"}
                    return found.value("knuv_reconcile_duration_seconds_count", **labels) > 0

                await eventually(is_told)
            found = await scraped(f"{address}:9090")
        finally:
            await running.stop()
            subnet.release()
    names = {labels["name"] for labels, _ in found.samples["kn_workqueue_depth"]}
    assert names >= set().union(*(LOOPS[each] for each in controllers.split(",")))
    if "serving" not in controllers:
        assert not names & LOOPS["serving"]


def test_the_page_lists_every_instrument_and_no_other() -> None:
    registry = Registry()
    add_queue_metrics(registry, [])
    add_ready_metrics(registry, [])
    assert documented(PAGE) == {
        (instrument.name, metric_name(instrument), instrument.kind.value, instrument.unit)
        for scope in registry.scopes
        for instrument in scope.instruments
    }
