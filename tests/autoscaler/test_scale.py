"""`autoscaler.scale`: the way to zero as one story on a stepped clock (the golden vectors have the single steps)."""

from autoscaler.scale import ActivatorProbe, Plan, Situation, plan_scale
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig


def settings(config: dict[str, str] | None = None, **annotations: str) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="hello-private",
        config=AutoscalerConfig.from_data(config or {}),
    )


def situation(
    active: str,
    since_s: float,
    *,
    desired: int = 0,
    proxied_s: float = 0,
    activator: ActivatorProbe = ActivatorProbe.ANSWERED,
) -> Situation:
    return Situation(
        desired=desired,
        active=active,
        active_status_for_s=since_s,
        is_initialized=True,
        is_proxied=proxied_s > 0,
        proxied_for_s=proxied_s,
        activator=activator,
    )


def plan(now: Situation, of: RevisionSettings | None = None) -> Plan:
    return plan_scale(now, of or settings(), 600)


def test_58_to_64_the_last_pod_goes_step_by_step() -> None:
    assert plan(situation("True", 45)) == Plan(1, again_after_s=15)
    assert plan(situation("True", 60)) == Plan(0, applies=False)
    assert plan(situation("False", 0, activator=ActivatorProbe.NOT_ASKED)).needs_probe
    assert plan(situation("False", 1, activator=ActivatorProbe.FAILED)).needs_background_probe
    assert plan(situation("False", 1, proxied_s=10)) == Plan(0, applies=False, again_after_s=20)
    assert plan(situation("False", 1, proxied_s=30)) == Plan(0)
    assert plan(situation("False", 30)) == Plan(0)


def test_61_with_unlimited_burst_capacity_no_activator_is_asked() -> None:
    now = situation("False", 30, activator=ActivatorProbe.NOT_ASKED)
    assert plan(now, settings(target_burst_capacity="-1")) == Plan(0)


def test_63_retention_blocks_even_after_the_grace_period() -> None:
    kept = settings(scale_to_zero_pod_retention_period="2m")
    assert plan(situation("False", 90, proxied_s=90), kept) == Plan(0, applies=False, again_after_s=30)
    assert plan(situation("False", 120, proxied_s=90), kept) == Plan(0)


def test_66_an_activation_is_given_up_after_the_deadline_and_half_a_minute() -> None:
    assert plan(situation("Unknown", 630)) == Plan(-1, applies=False, again_after_s=630)
    assert plan(situation("Unknown", 630.1)) == Plan(0)


def test_55_to_57_bounds() -> None:
    assert plan(situation("True", 1, desired=10), settings(max_scale="8")) == Plan(8)
    assert plan(situation("True", 100), settings(min_scale="2")) == Plan(2)
    assert plan(situation("False", 100), settings({"enable-scale-to-zero": "false"})) == Plan(1)
