"""The images of adapters whose pods a controller makes in users' namespaces, as commands."""

from controller.eventing.sources.api_server import IMAGE as API_SERVER_SOURCE
from controller.eventing.sources.jetstream import IMAGE as JETSTREAM_SOURCE
from local_cluster.system import PROGRAM, SystemLayout

__all__ = ["adapter_images"]

_IMAGES = (API_SERVER_SOURCE, JETSTREAM_SOURCE)
_IDENTITY = "pingsource-mt-adapter"
"""Pods that share the machine's network have no files of their service account; everybody may read everything here."""


def adapter_images(layout: SystemLayout) -> dict[str, tuple[str, ...]]:
    """Image -> command, with what the pod's own environment does not say."""
    command = (*PROGRAM, "sources")
    if layout.pods_have_networks:
        return dict.fromkeys(_IMAGES, command)
    told = (f"KUBECONFIG={layout.kubeconfig(_IDENTITY)}", "KNUV_SERVICE_RESOLUTION=endpoints")
    return dict.fromkeys(_IMAGES, ("/usr/bin/env", *told, *command))
