"""What a scraper hears of a gateway, and `docs/gateway.md` as true as the code."""

from pathlib import Path

from gateway.certificates import Certificates
from gateway.metrics import add_gateway_metrics
from gateway.programmer import Programmer
from gateway.xds import Resources, XdsServer
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from kube.queue_metrics import add_queue_metrics
from kube.ready_metrics import add_ready_metrics
from proxies.logs import Logger
from proxies.metrics.exposition import metric_name
from proxies.metrics.instruments import Registry
from tests.gateway.objects import rule
from tests.gateway.world import running_world
from tests.support.prometheus import documented, scraped

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


async def test_what_is_served_and_sent_is_told(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        meta = ObjectMeta(name="config-observability", namespace="knative-serving")
        await world.client.create(ConfigMap(metadata=meta, data={"metrics-protocol": "prometheus"}))
        await world.start_gateway()
        await world.start_envoy()
        await world.deploy("web")
        await world.ingress("web", rule("web.com"))
        told = await scraped(f"{world.address(5)}:9090")
        assert told.value("knuv_gateway_ingresses") == 1
        assert told.value("knuv_gateway_ingresses_unready") == 0
        assert told.value("knuv_gateway_xds_streams") == 1
        assert told.value("knuv_gateway_hosts", face="external_services") == 1
        assert told.value("knuv_gateway_xds_pushes_total", type="RouteConfiguration") >= 2
        assert told.value("knuv_gateway_xds_pushed_bytes_total", type="RouteConfiguration") > 100
        assert told.value("knuv_gateway_xds_refusals_total", type="RouteConfiguration") == 0
        assert told.value("knuv_ready_duration_seconds_count", kind="Ingress") == 1
        assert told.value("knuv_reconcile_duration_seconds_count", name="gateway", result="success") >= 2
        assert told.value("kn_workqueue_depth", name="gateway") == 0


def test_the_page_lists_every_instrument_and_no_other() -> None:
    registry, resources = Registry(), Resources()
    certificates = Certificates(resources, faces={}, secret=lambda *_: None, access_log=None)
    programmer = Programmer(resources, service=lambda *_: None, slices=lambda *_: [], certificates=certificates)
    xds = XdsServer(resources, log=Logger("test"))
    add_gateway_metrics(registry, xds=xds, programmer=programmer, unready=lambda: 0)
    add_queue_metrics(registry, [])
    add_ready_metrics(registry, [])
    assert documented(PAGE) == {
        (instrument.name, metric_name(instrument), instrument.kind.value, instrument.unit)
        for scope in registry.scopes
        for instrument in scope.instruments
    }
