"""The image of ApiServerSources' adapters, whose pods a controller makes in users' namespaces, as a command."""

import sys

from local_cluster.system import SystemLayout

__all__ = ["adapter_images"]

_API_SERVER_SOURCE = "dev.local/knuv/apiserver-source"
"""`controller.eventing.sources.api_server.IMAGE`."""
_IDENTITY = "pingsource-mt-adapter"
"""Pods that share the machine's network have no files of their service account; everybody may read everything here."""


def adapter_images(layout: SystemLayout) -> dict[str, tuple[str, ...]]:
    """Image -> command, with what the pod's own environment does not say."""
    command = (sys.executable, "-m", "sources")
    if layout.pods_have_networks:
        return {_API_SERVER_SOURCE: command}
    told = (f"KUBECONFIG={layout.kubeconfig(_IDENTITY)}", "KNUV_SERVICE_RESOLUTION=endpoints")
    return {_API_SERVER_SOURCE: ("/usr/bin/env", *told, *command)}
