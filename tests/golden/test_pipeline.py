"""Replays `pipeline`: settings, recorded stats, decisions, bounds and activators, all in one."""

from dataclasses import asdict
from typing import Any

from autoscaler.activators import activator_count
from autoscaler.collector import Collection
from autoscaler.decider import Decider
from autoscaler.scale import clamp
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from proxies.wire.stat import Stat
from tests.golden.replay import Golden, same


def test_pipeline(golden: Golden) -> None:
    with golden("pipeline") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    settings = resolve(
        case["annotations"],
        container_concurrency=case["container_concurrency"],
        reachability=case["reachability"],
        metrics_service="rev-private",
        config=AutoscalerConfig.from_data(case["config"]),
    )
    want = case["expect"]
    same(asdict(settings.decider), want["decider"], "decider")
    same(asdict(settings.metric), want["metric"], "metric")
    same([settings.min_scale, settings.max_scale], [want["min_scale"], want["max_scale"]], "bounds")
    base_s = case["base_unix_ms"] / 1000
    decider = Decider(settings.decider, now_s=base_s, ready_pods=case["created_ready"])
    same(decider.is_panicking, want["created_panic"], "created_panic")
    collection = Collection(settings.metric)
    for index, (kind, t_ms, *columns) in enumerate(case["rows"]):
        now_s = (case["base_unix_ms"] + t_ms) / 1000
        if kind == "stat":
            collection.record(now_s, Stat("pod", *columns))
        else:
            check_tick(settings, decider, collection, now_s, columns, f"rows[{index}]")


def check_tick(
    settings: RevisionSettings, decider: Decider, collection: Collection, now_s: float, columns: list[Any], what: str
) -> None:
    ready, stable, panic, error, valid, desired, excess, panic_mode, bounded, activators = columns
    load = collection.load(settings.decider.scaling_metric, now_s)
    same(load is not None, error == "", f"{what}.error")
    same(activator_count(ready, settings.decider), activators, f"{what}.num_activators")
    if load is None:
        same(valid, 0, f"{what}.valid")
        return
    same([load.stable, load.panic], [stable, panic], f"{what}.load")
    decision = decider.decide(now_s, ready, load.stable, load.panic)
    scale = clamp(decision.desired, settings.min_scale, settings.max_scale)
    got = [decision.desired, decision.excess_burst_capacity, int(decision.panicking), scale]
    same(got, [desired, excess, panic_mode, bounded], f"{what}.decision")
