"""What people want to see of a stack at a glance."""

import json
from typing import Any

import yaml

from kube.client import Client
from kube.errors import NotFound
from kube.models.autoscaling import PodAutoscaler
from kube.models.core import Pod
from kube.models.networking import ServerlessService
from kube.models.serving import Service
from local_cluster.announcing import service_url
from local_cluster.manifests import LAST_APPLIED

__all__ = ["describe_lines", "service_rows", "table_rows"]

COLUMNS = ["namespace", "name", "url", "latest revision", "ready", "reason", "pods", "mode"]


async def service_rows(
    client: Client, namespace: str | None, name: str | None, http_port: int | None
) -> tuple[list[str], list[list[str]]]:
    """Columns and a row per Knative Service: URL, newest ready revision, its pods (ready/wanted), proxy or serve.

    With `namespace` None those of all namespaces, with a column more.
    """
    if name is None:
        services = (await client.list(Service, namespace)).items
    else:
        services = [await client.get(Service, name, namespace or "default")]
    pods = (await client.list(Pod, namespace, label_selector="serving.knative.dev/revision")).items
    modes = {s.key: s.spec.mode for s in (await client.list(ServerlessService, namespace)).items}
    wanted = {a.key: a.status.desired_scale for a in (await client.list(PodAutoscaler, namespace)).items}
    rows = []
    for service in services:
        revision = service.status.latest_ready_revision_name or service.status.latest_created_revision_name
        key = (service.namespace, revision)
        own = [
            p
            for p in pods
            if p.namespace == service.namespace and p.metadata.labels.get("serving.knative.dev/revision") == revision
        ]
        ready = next((c for c in service.status.conditions if c.type == "Ready"), None)
        desired = wanted.get(key)
        rows.append(
            [
                service.namespace,
                service.name,
                service_url(service, http_port),
                revision,
                ready.status if ready else "Unknown",
                ready.reason if ready else "",
                f"{sum(p.is_ready() for p in own)}/{'?' if desired is None or desired < 0 else desired}",
                modes.get(key, ""),
            ]
        )
    if namespace is None:
        return COLUMNS, rows
    return COLUMNS[1:], [row[1:] for row in rows]


def table_rows(table: dict[str, Any], *, with_namespace: bool) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a server-side `Table`, without the columns that are for `-o wide`."""
    shown = [i for i, column in enumerate(table["columnDefinitions"]) if column.get("priority", 0) == 0]
    columns = [table["columnDefinitions"][i]["name"] for i in shown]
    rows = [[_text(row["cells"][i]) for i in shown] for row in table["rows"]]
    if not with_namespace:
        return columns, rows
    namespaces = [str(row["object"]["metadata"].get("namespace", "")) for row in table["rows"]]
    return ["namespace", *columns], [[namespace, *row] for namespace, row in zip(namespaces, rows, strict=True)]


async def describe_lines(client: Client, path: str, namespace: str, name: str) -> list[str]:
    """The object as YAML, then its conditions and its events, newest last; without what is kept for `apply` alone."""
    obj: dict[str, Any] = json.loads(await client.raw("GET", path))
    metadata, status = obj["metadata"], obj.get("status") or {}
    metadata.pop("managedFields", None)
    if (metadata.get("annotations") or {}).pop(LAST_APPLIED, None) and not metadata["annotations"]:
        del metadata["annotations"]
    conditions = status.pop("conditions", None) or []
    lines = yaml.safe_dump(obj, sort_keys=False).splitlines()
    if conditions:
        lines += ["", "Conditions:"]
        for condition in conditions:
            detail = ": ".join(part for part in (condition.get("reason"), condition.get("message")) if part)
            lines.append(f"  {condition['status']:8} {condition['type']:32} {' '.join(detail.split())}".rstrip())
    try:
        params = {"fieldSelector": f"involvedObject.name={name}"}
        events = json.loads(await client.raw("GET", f"/api/v1/namespaces/{namespace}/events", params=params))["items"]
    except NotFound:
        events = []
    if events:
        lines += ["", "Events:"]
        for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or "")):
            lines.append(
                f"  {event.get('lastTimestamp')}  {event.get('type')}  {event.get('reason')}: {event.get('message')}"
            )
    return lines


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
