"""What a scraper hears of a controller, and `docs/controller.md` as true as the code."""

from pathlib import Path

from controller.app import App
from controller.config import Config
from kube.models import serving
from kube.queue_metrics import add_queue_metrics
from kube.ready_metrics import add_ready_metrics
from local_cluster.subnet import Subnet
from proxies.metrics.exposition import metric_name
from proxies.metrics.instruments import Registry
from tests.controller.cluster import SYSTEM, Kn, cluster, service
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


def test_the_page_lists_every_instrument_and_no_other() -> None:
    registry = Registry()
    add_queue_metrics(registry, [])
    add_ready_metrics(registry, [])
    assert documented(PAGE) == {
        (instrument.name, metric_name(instrument), instrument.kind.value, instrument.unit)
        for scope in registry.scopes
        for instrument in scope.instruments
    }
