"""All workload controllers over one set of informers."""

import time
from typing import Any

from kube.client import Client
from kube.events import EventRecorder
from kube.informer import Informer
from kube.models.apps import Deployment, ReplicaSet
from kube.models.batch import Job
from kube.models.core import Endpoints, Pod, Service
from kube.models.discovery import EndpointSlice
from local_cluster.workloads.deployments import DeploymentController
from local_cluster.workloads.endpoints import NAMESPACE_INDEX, EndpointsController, MirrorController, namespaces
from local_cluster.workloads.jobs import JobController
from local_cluster.workloads.replica_sets import OWNER_INDEX, ReplicaSetController, owner_uids
from local_cluster.workloads.scheduler import Scheduler
from local_cluster.workloads.slices import SLICE_INDEX, slice_services
from proxies.logs import Logger

__all__ = ["Workloads"]


class Workloads:
    """Deployments, ReplicaSets, Jobs, Endpoints and scheduling for a cluster with the single node `node_name`."""

    def __init__(self, client: Client, *, node_name: str = "local", log: Logger | None = None) -> None:
        log = log or Logger("workloads")
        self._events = EventRecorder(client, component="replicaset-controller", host=node_name, clock=time.time)
        deployments = Informer(client, Deployment, log=log)
        replica_sets = Informer(client, ReplicaSet, log=log)
        pods = Informer(client, Pod, log=log)
        services = Informer(client, Service, log=log)
        endpoints = Informer(client, Endpoints, log=log)
        slices = Informer(client, EndpointSlice, log=log)
        jobs = Informer(client, Job, log=log)
        replica_sets.add_index(OWNER_INDEX, owner_uids)
        pods.add_index(OWNER_INDEX, owner_uids)
        pods.add_index(NAMESPACE_INDEX, namespaces)
        services.add_index(NAMESPACE_INDEX, namespaces)
        slices.add_index(SLICE_INDEX, slice_services)
        # The order of callbacks is the order of this list: readiness reaches Endpoints before anything is counted.
        self._loops = [
            EndpointsController(client, services, pods, endpoints, slices, log=log).loop,
            MirrorController(client, services, endpoints, slices, log=log).loop,
            DeploymentController(client, deployments, replica_sets, log=log).loop,
            ReplicaSetController(client, replica_sets, pods, node_name=node_name, events=self._events, log=log).loop,
            JobController(client, jobs, pods, node_name=node_name, log=log).loop,
            Scheduler(client, pods, node_name=node_name, log=log).loop,
        ]
        self._informers: list[Informer[Any]] = [deployments, replica_sets, jobs, pods, services, endpoints, slices]

    async def start(self) -> None:
        """Read everything, then begin to work."""
        await self._events.start()
        for informer in self._informers:
            await informer.start()
        for loop in self._loops:
            loop.start()

    async def stop(self) -> None:
        """Stop working; nothing is deleted."""
        for loop in self._loops:
            await loop.stop()
        for informer in self._informers:
            await informer.stop()
        await self._events.stop()
