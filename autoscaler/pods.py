"""Counting a revision's pods by state, and finding the ready ones by age.

Source: knative/serving `pkg/resources/pods.go`; spec autoscaler.md 4.5 and 7.1; golden set `pods`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kube.models.core import Pod
from kube.timestamps import parse_time_s

__all__ = ["PodCounts", "ReadyPod", "count_pods", "ready_pods", "split_by_age"]


class PodCounts(NamedTuple):
    """Pods of one revision. `not_ready` includes pending and terminating ones."""

    ready: int = 0
    not_ready: int = 0
    pending: int = 0
    terminating: int = 0


class ReadyPod(NamedTuple):
    """A pod that can be scraped. `started_s`: Unix seconds, or None when the kubelet has not said, or nothing
    readable."""

    ip: str
    started_s: float | None


def count_pods(pods: Iterable[Pod]) -> PodCounts:
    """Count by state; finished and unknown phases are ignored."""
    ready = not_ready = pending = terminating = 0
    for pod in pods:
        if pod.status.phase == "Pending":
            pending += 1
            not_ready += 1
        elif pod.status.phase == "Running":
            if pod.metadata.deletion_timestamp is not None:
                terminating += 1
                not_ready += 1
            elif pod.is_ready():
                ready += 1
            else:
                not_ready += 1
    return PodCounts(ready, not_ready, pending, terminating)


def ready_pods(pods: Iterable[Pod]) -> list[ReadyPod]:
    """The ready ones, with their addresses and starts."""
    return [ReadyPod(pod.status.pod_ip, _start_s(pod)) for pod in pods if pod.is_ready()]


def split_by_age(pods: Iterable[ReadyPod], now_s: float, old_from_s: float) -> tuple[list[str], list[str]]:
    """Addresses of the pods that run for at least `old_from_s`, and of the younger ones."""
    old: list[str] = []
    young: list[str] = []
    for pod in pods:
        is_old = pod.started_s is not None and now_s - pod.started_s >= old_from_s
        (old if is_old else young).append(pod.ip)
    return old, young


def _start_s(pod: Pod) -> float | None:
    try:
        return parse_time_s(pod.status.start_time) if pod.status.start_time else None
    except ValueError:
        return None  # such a pod counts as young, as one without a start does
