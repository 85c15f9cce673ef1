"""Table cells that are more than a path: what `kubectl get` shows of built-in kinds, in the words of the original.

Source: Kubernetes `pkg/printers/internalversion/printers.go`, behaviour only.
"""

from datetime import UTC, datetime
from typing import Any

from local_cluster.apiserver.resources import Column

__all__ = ["AGE", "CELLS", "age_text"]

_NONE = "<none>"
_UNKNOWN = "<unknown>"


def age_text(timestamp: object, now: datetime | None = None) -> str:
    """The time since an RFC 3339 `timestamp` as kubectl writes it: `7s`, `4m30s`, `3h12m`, `2d5h`, `341d`, `3y20d`."""
    try:
        then = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return _UNKNOWN
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    return "<invalid>" if seconds < -1 else duration_text(max(seconds, 0))


def duration_text(seconds: int) -> str:
    """A duration in one or two units, coarser the longer it is."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _pair(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _age(obj: dict[str, Any]) -> str:
    return age_text(obj["metadata"].get("creationTimestamp"))


AGE = Column(name="Age", cell=_age, description="Time since creation.")


def _count(path: str, obj: dict[str, Any]) -> int:
    section, _, name = path.partition(".")
    return len((obj.get(section) or {}).get(name) or ()) if name else len(obj.get(section) or ())


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def _status(obj: dict[str, Any]) -> dict[str, Any]:
    return obj.get("status") or {}


# -- pods and what makes them ------------------------------------------------------------------------------


def _pod_ready(pod: dict[str, Any]) -> str:
    statuses = _status(pod).get("containerStatuses") or []
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(_spec(pod).get('containers') or [])}"


def _pod_status(pod: dict[str, Any]) -> str:
    status = _status(pod)
    text = str(status.get("reason") or status.get("phase") or "Pending")
    statuses = status.get("containerStatuses") or []
    is_running = False
    for container in reversed(statuses):
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            text = waiting["reason"]
        elif terminated:
            code, signal = terminated.get("exitCode", 0), terminated.get("signal", 0)
            text = terminated.get("reason") or (f"Signal:{signal}" if signal else f"ExitCode:{code}")
        elif container.get("ready") and state.get("running") is not None:
            is_running = True
    if text == "Completed" and is_running:
        text = "Running" if _is_condition(pod, "Ready") else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        text = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return text


def _is_condition(obj: dict[str, Any], kind: str) -> bool:
    conditions = _status(obj).get("conditions") or []
    return any(condition.get("type") == kind and condition.get("status") == "True" for condition in conditions)


def _pod_restarts(pod: dict[str, Any]) -> str:
    statuses = _status(pod).get("containerStatuses") or []
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    ended = [
        status["lastState"]["terminated"].get("finishedAt")
        for status in statuses
        if (status.get("lastState") or {}).get("terminated")
    ]
    return f"{restarts} ({age_text(max(filter(None, ended)))} ago)" if restarts and any(ended) else str(restarts)


def _template_containers(obj: dict[str, Any]) -> list[dict[str, Any]]:
    return ((_spec(obj).get("template") or {}).get("spec") or {}).get("containers") or []


def _containers(obj: dict[str, Any]) -> str:
    return ",".join(str(container.get("name")) for container in _template_containers(obj))


def _images(obj: dict[str, Any]) -> str:
    return ",".join(str(container.get("image")) for container in _template_containers(obj))


def _selector(obj: dict[str, Any]) -> str:
    return selector_text(_spec(obj).get("selector")) or _NONE


def selector_text(selector: Any) -> str:
    """A label selector object, or a plain map, as the text that a query takes."""
    if isinstance(selector, str):
        return selector
    if not isinstance(selector, dict):
        return ""
    is_plain = not selector.keys() & {"matchLabels", "matchExpressions"}
    pairs = selector if is_plain else selector.get("matchLabels") or {}
    terms = [f"{key}={value}" for key, value in sorted(pairs.items())]
    for expression in () if is_plain else selector.get("matchExpressions") or ():
        key, values = expression.get("key"), ",".join(expression.get("values") or ())
        match expression.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(f"{key}")
            case "DoesNotExist":
                terms.append(f"!{key}")
    return ",".join(terms)


def _replicas_ready(obj: dict[str, Any]) -> str:
    return f"{_status(obj).get('readyReplicas', 0)}/{_spec(obj).get('replicas', 1)}"


_WIDE_TEMPLATE = (
    Column(name="Containers", cell=_containers, priority=1),
    Column(name="Images", cell=_images, priority=1),
)
_WIDE_SELECTOR = Column(name="Selector", cell=_selector, priority=1)


def _field(name: str, section: str, field: str, default: Any = 0) -> Column:
    """A number of spec or status that is shown even when absent."""
    return Column(name=name, cell=lambda obj: (obj.get(section) or {}).get(field, default), type="integer")


# -- services and endpoints --------------------------------------------------------------------------------


def _service_external_ip(service: dict[str, Any]) -> str:
    spec = _spec(service)
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or _NONE)
    ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
    addresses = [str(entry.get("ip") or entry.get("hostname")) for entry in ingress] + (spec.get("externalIPs") or [])
    if addresses:
        return ",".join(addresses)
    return "<pending>" if spec.get("type") == "LoadBalancer" else _NONE


def _service_ports(service: dict[str, Any]) -> str:
    texts = []
    for port in _spec(service).get("ports") or []:
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or _NONE


def _endpoints(endpoints: dict[str, Any]) -> str:
    found = []
    for subset in endpoints.get("subsets") or []:
        for address in subset.get("addresses") or []:
            ports = subset.get("ports") or []
            found += [f"{address.get('ip')}:{port.get('port')}" for port in ports] or [str(address.get("ip"))]
    return _shortened(found)


def _slice_addresses(obj: dict[str, Any]) -> str:
    return _shortened([str(ip) for endpoint in obj.get("endpoints") or [] for ip in endpoint.get("addresses") or []])


def _slice_ports(obj: dict[str, Any]) -> str:
    return (
        _shortened([str(port.get("port", "*")) for port in obj.get("ports") or []]) if obj.get("ports") else "<unset>"
    )


def _shortened(texts: list[str]) -> str:
    if not texts:
        return _NONE
    more = f" + {len(texts) - 3} more..." if len(texts) > 3 else ""
    return ",".join(texts[:3]) + more


# -- the rest ----------------------------------------------------------------------------------------------


def _node_status(node: dict[str, Any]) -> str:
    text = "Ready" if _is_condition(node, "Ready") else "NotReady"
    return f"{text},SchedulingDisabled" if _spec(node).get("unschedulable") else text


def _node_roles(node: dict[str, Any]) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or _NONE


def _job_completions(job: dict[str, Any]) -> str:
    return f"{_status(job).get('succeeded', 0)}/{_spec(job).get('completions', 1)}"


def _job_status(job: dict[str, Any]) -> str:
    for condition, text in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if _is_condition(job, condition):
            return text
    return "Running"


def _event_last_seen(event: dict[str, Any]) -> str:
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return age_text(last or event["metadata"].get("creationTimestamp"))


def _event_object(event: dict[str, Any]) -> str:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _crd_created(crd: dict[str, Any]) -> str:
    return str(crd["metadata"].get("creationTimestamp", _UNKNOWN))


def _role_ref(binding: dict[str, Any]) -> str:
    reference = binding.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


CELLS: dict[str, tuple[Column, ...]] = {
    "pods": (
        Column(name="Ready", cell=_pod_ready, description="Ready containers of all containers."),
        Column(name="Status", cell=_pod_status, description="Phase, or why the pod is not there yet."),
        Column(name="Restarts", cell=_pod_restarts, description="Restarts of all containers."),
        AGE,
        Column(name="IP", cell=lambda pod: _status(pod).get("podIP") or _NONE, priority=1),
        Column(name="Node", cell=lambda pod: _spec(pod).get("nodeName") or _NONE, priority=1),
    ),
    "services": (
        Column(name="Type", cell=".spec.type"),
        Column(name="Cluster-IP", cell=lambda service: _spec(service).get("clusterIP") or _NONE),
        Column(name="External-IP", cell=_service_external_ip),
        Column(name="Port(s)", cell=_service_ports),
        AGE,
        _WIDE_SELECTOR,
    ),
    "endpoints": (Column(name="Endpoints", cell=_endpoints), AGE),
    "configmaps": (
        Column(name="Data", cell=lambda obj: _count("data", obj) + _count("binaryData", obj), type="integer"),
        AGE,
    ),
    "secrets": (
        Column(name="Type", cell=".type"),
        Column(name="Data", cell=lambda obj: _count("data", obj), type="integer"),
        AGE,
    ),
    "namespaces": (Column(name="Status", cell=".status.phase"), AGE),
    "nodes": (
        Column(name="Status", cell=_node_status),
        Column(name="Roles", cell=_node_roles),
        AGE,
        Column(name="Version", cell=".status.nodeInfo.kubeletVersion"),
    ),
    "serviceaccounts": (AGE,),
    "persistentvolumeclaims": (
        Column(name="Status", cell=".status.phase"),
        Column(name="Volume", cell=".spec.volumeName"),
        AGE,
    ),
    "events": (
        Column(name="Last Seen", cell=_event_last_seen),
        Column(name="Type", cell=".type"),
        Column(name="Reason", cell=".reason"),
        Column(name="Object", cell=_event_object),
        Column(name="Message", cell=".message"),
    ),
    "deployments": (
        Column(name="Ready", cell=_replicas_ready),
        _field("Up-to-date", "status", "updatedReplicas"),
        _field("Available", "status", "availableReplicas"),
        AGE,
        *_WIDE_TEMPLATE,
        _WIDE_SELECTOR,
    ),
    "replicasets": (
        _field("Desired", "spec", "replicas", 1),
        _field("Current", "status", "replicas"),
        _field("Ready", "status", "readyReplicas"),
        AGE,
        *_WIDE_TEMPLATE,
        _WIDE_SELECTOR,
    ),
    "statefulsets": (Column(name="Ready", cell=_replicas_ready), AGE, *_WIDE_TEMPLATE),
    "daemonsets": (
        _field("Desired", "status", "desiredNumberScheduled"),
        _field("Current", "status", "currentNumberScheduled"),
        _field("Ready", "status", "numberReady"),
        AGE,
        *_WIDE_TEMPLATE,
    ),
    "jobs": (
        Column(name="Status", cell=_job_status),
        Column(name="Completions", cell=_job_completions),
        AGE,
        *_WIDE_TEMPLATE,
    ),
    "cronjobs": (
        Column(name="Schedule", cell=".spec.schedule"),
        Column(name="Suspend", cell=lambda job: "True" if _spec(job).get("suspend") else "False"),
        Column(name="Active", cell=lambda job: _count("status.active", job), type="integer"),
        Column(name="Last Schedule", cell=".status.lastScheduleTime", type="date"),
        AGE,
    ),
    "endpointslices": (
        Column(name="AddressType", cell=".addressType"),
        Column(name="Ports", cell=_slice_ports),
        Column(name="Endpoints", cell=_slice_addresses),
        AGE,
    ),
    "leases": (Column(name="Holder", cell=".spec.holderIdentity"), AGE),
    "horizontalpodautoscalers": (
        Column(
            name="Reference",
            cell=lambda hpa: "/".join(
                str((_spec(hpa).get("scaleTargetRef") or {}).get(part)) for part in ("kind", "name")
            ),
        ),
        _field("MinPods", "spec", "minReplicas", 1),
        _field("MaxPods", "spec", "maxReplicas"),
        _field("Replicas", "status", "currentReplicas"),
        AGE,
    ),
    "poddisruptionbudgets": (
        Column(name="Min Available", cell=lambda obj: _spec(obj).get("minAvailable", "N/A")),
        Column(name="Max Unavailable", cell=lambda obj: _spec(obj).get("maxUnavailable", "N/A")),
        AGE,
    ),
    "rolebindings": (Column(name="Role", cell=_role_ref), AGE),
    "clusterrolebindings": (Column(name="Role", cell=_role_ref), AGE),
    "roles": (Column(name="Created At", cell=".metadata.creationTimestamp", type="date"),),
    "clusterroles": (Column(name="Created At", cell=".metadata.creationTimestamp", type="date"),),
    "mutatingwebhookconfigurations": (
        Column(name="Webhooks", cell=lambda obj: _count("webhooks", obj), type="integer"),
        AGE,
    ),
    "validatingwebhookconfigurations": (
        Column(name="Webhooks", cell=lambda obj: _count("webhooks", obj), type="integer"),
        AGE,
    ),
    "customresourcedefinitions": (Column(name="Created At", cell=_crd_created),),
}
"""The columns after Name, by plural."""
