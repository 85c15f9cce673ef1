"""`kube.ready_metrics`: how long objects take to become Ready, as an informer shows it."""

from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models.meta import Condition, ObjectMeta
from kube.models.serving import Service, ServiceStatus
from kube.ready_metrics import add_ready_metrics
from proxies.metrics.instruments import Distribution, Registry


class World:
    """An informer whose objects the test shows, and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.version = 0
        self.informer = Informer(Client(ApiConfig(server="")), Service)
        self.registry = Registry()
        add_ready_metrics(self.registry, [self.informer], clock=lambda: self.now_s)

    def show(self, generation: int, *, ready: bool, uid: str = "u", observed: int | None = None) -> None:
        self.version += 1
        status = ServiceStatus(
            observed_generation=generation if observed is None else observed,
            conditions=[Condition(type="Ready", status="True" if ready else "Unknown")],
        )
        meta = ObjectMeta(name="web", namespace="n", uid=uid, generation=generation, resource_version=str(self.version))
        self.informer.apply_local(Service(metadata=meta, status=status))

    def told(self) -> tuple[int, float]:
        """How often it was told, and the seconds in all."""
        self.registry.collect()
        (series,) = self.registry.scopes[0].instruments[0].all_series()
        assert isinstance(series, Distribution)
        return series.count, series.total


def test_from_the_appearance_of_a_generation_to_ready_at_it() -> None:
    world = World()
    world.show(1, ready=False)
    world.now_s = 2
    world.show(1, ready=False)
    world.now_s = 5
    world.show(1, ready=True)
    assert world.told() == (1, 5)
    world.show(2, ready=True, observed=1)
    world.now_s = 6
    world.show(2, ready=True)
    assert world.told() == (2, 6)
    world.show(2, ready=True)
    assert world.told() == (2, 6), "it was Ready already"


def test_a_generation_that_is_overtaken_does_not_count() -> None:
    world = World()
    world.show(1, ready=False)
    world.now_s = 3
    world.show(2, ready=False)
    world.now_s = 4
    world.show(2, ready=True)
    assert world.told() == (1, 1)


def test_a_successor_of_the_name_begins_anew() -> None:
    world = World()
    world.show(1, ready=True, uid="a")
    world.now_s = 3
    world.show(1, ready=False, uid="b")
    world.now_s = 4
    world.show(1, ready=True, uid="b")
    assert world.told() == (1, 1)
