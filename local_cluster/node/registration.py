"""What the API shows of the node itself."""

import os
from collections.abc import Mapping

from kube.client import Client
from kube.errors import AlreadyExists
from kube.models.core import Node
from kube.models.meta import ObjectMeta
from kube.timestamps import format_time

__all__ = ["register"]


async def register(client: Client, name: str, address: str, capacity: Mapping[str, str], now_s: float) -> None:
    """Make the Node object say that pods may come. Raises `ApiError`."""
    now = format_time(now_s)
    status = {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "pods run as processes of this machine",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
        ],
        "nodeInfo": {
            "kubeletVersion": "v1.34.0",
            "operatingSystem": "linux",
            "architecture": os.uname().machine,
            "kernelVersion": os.uname().release,
            "osImage": "loopback",
            "containerRuntimeVersion": "process://1",
        },
    }
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    node = Node(metadata=ObjectMeta(name=name, labels=labels))
    try:
        node = await client.create(node)
    except AlreadyExists:
        node = await client.get(Node, name)
    await client.patch_status(node, status)
