"""From a container's spec to its process: image, command, environment, volumes, user, surroundings.

A container gets a root of its own (`sandbox.py`) where its pod has a network of its own, and where it mounts volumes;
any other is a plain process of the machine. What cannot be made is said with `NotCreated`, and tried again later.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kube.client import Client
from kube.errors import NotFound
from kube.events import EventRecorder
from kube.models.core import ConfigMap, Container, Pod, Secret
from local_cluster.guardian import Guardian
from local_cluster.node.cgroups import UNLIMITED, Cgroup, Cgroups, Limits
from local_cluster.node.config import NodeConfig
from local_cluster.node.environment import (
    PodFacts,
    Reference,
    VariableError,
    container_environment,
    expand,
    references,
)
from local_cluster.node.images import ImageMap, ImageMapError
from local_cluster.node.loopback import PortRewrite
from local_cluster.node.podman import Podman
from local_cluster.node.process import Started, StartError, User, spawn
from local_cluster.node.sandbox import Bind, Sandboxes, SandboxPlan, container_user, inside
from local_cluster.node.strays import POD_VARIABLE
from local_cluster.node.volume_files import copy_part, host_path, write
from local_cluster.node.volumes import (
    SECRET_MODE,
    TokenSource,
    VolumeError,
    VolumeFile,
    volume_files,
    volume_references,
)
from local_cluster.node.warm import WarmProcesses
from proxies.logs import Logger

__all__ = ["ApiAccess", "Launch", "NodeServices", "NotCreated", "PodLauncher"]

_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"

SourceMap = dict[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How pods reach the API server."""

    host: str
    port: int
    credentials: Callable[[str, str], TokenSource]
    """(namespace, service account) -> its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServices:
    """What all pods of a node share."""

    config: NodeConfig
    client: Client
    images: ImageMap
    guardian: Guardian | None
    events: EventRecorder
    warm: WarmProcesses | None
    sandboxes: Sandboxes | None
    """None: we may not make any."""
    cgroups: Cgroups | None
    """None: there are no limits, and `no_limits` says why."""
    no_limits: str
    api: ApiAccess | None
    facts: Callable[[str], PodFacts]
    """Pod address -> what the node knows about such a pod."""
    clock: Callable[[], float]
    """Unix seconds that never go back."""
    log: Logger


class NotCreated(Exception):
    """A container cannot be made as its spec stands: a reason as the kubelet names it, and the cause."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A container that can be started."""

    command: list[str]
    env: dict[str, str]
    cwd: str
    user: User | None = None
    sandbox: SandboxPlan | None = None
    podman: Podman | None = None
    limits: Limits = UNLIMITED

    def inside(self, pid: int) -> Callable[[list[str]], tuple[list[str], bytes]] | None:
        """How further commands get to where process `pid` of this container is; None: as they are."""
        if self.podman is not None:
            return self.podman.inside
        if self.sandbox is None and self.user is None:
            return None
        place = pid if self.sandbox is not None else None
        return lambda command: inside(command, self.env, self.cwd, self.user, pid=place)


class PodLauncher:
    """Makes the containers of one pod. `network`: path of its network namespace; empty: the machine's."""

    def __init__(
        self, pod: Pod, pod_ip: str, rewrite: PortRewrite, services: NodeServices, *, network: str = ""
    ) -> None:
        self._pod = pod
        self._pod_ip = pod_ip
        self._rewrite = rewrite
        self._services = services
        self._network = network
        self._volumes = {str(volume.get("name")): volume for volume in pod.spec.volumes}
        self._folder = services.config.state_dir / "pods" / pod.metadata.uid
        self._owner, self._secret_mode = _owner(pod)

    def references(self, spec: Container) -> list[Reference]:
        """Every ConfigMap and Secret that the container needs."""
        mounted = {str(mount.get("name")) for mount in spec.volume_mounts}
        volumes = [volume for name, volume in self._volumes.items() if name in mounted]
        return references(spec) + [found for volume in volumes for found in volume_references(volume)]

    async def fetch(self, spec: Container) -> SourceMap:
        """Read them. Raises `ApiError` and `ApiUnreachable`; what does not exist is left out."""
        client, namespace = self._services.client, self._pod.namespace
        sources: SourceMap = {}
        for reference in self.references(spec):
            key = (reference.kind, reference.name)
            if key in sources:
                continue
            try:
                if reference.kind == "Secret":
                    sources[key] = (await client.get(Secret, reference.name, namespace)).data
                else:
                    found = await client.get(ConfigMap, reference.name, namespace)
                    sources[key] = found.data
                    sources["ConfigMap.binary", reference.name] = found.binary_data
            except NotFound:
                continue  # its absence is judged where it is used
        return sources

    def prepare(self, spec: Container, sources: SourceMap) -> Launch:
        """Work everything out, and write the volumes. Raises `NotCreated`."""
        services = self._services
        try:
            image = services.images.find(spec.image)
        except ImageMapError as error:
            raise NotCreated("ErrImagePull", str(error)) from error
        entrypoint = spec.command or (list(image.command) if image else [])
        name = f"knuv-{self._pod.metadata.uid}-{spec.name}"
        podman = None if entrypoint else Podman.find(services.config.environ.get("PATH", os.defpath), name)
        if not entrypoint and podman is None:
            raise NotCreated("ErrImagePull", services.images.advice(spec.image))
        wants_files = self._pod.spec.automount_service_account_token is True and services.api is not None
        is_sandboxed = bool(self._network or spec.volume_mounts or (wants_files and services.sandboxes is not None))
        base = {**services.config.environ, **(image.env if image else {})}
        if is_sandboxed and services.api is not None:
            base |= {"KUBERNETES_SERVICE_HOST": services.api.host, "KUBERNETES_SERVICE_PORT": str(services.api.port)}
        replaced = {
            **self._rewrite.env.get(spec.name, {}),
            **(services.guardian.environment if services.guardian else {}),
            POD_VARIABLE: self._pod.metadata.uid,
        }
        try:
            env = container_environment(
                spec, self._pod, services.facts(self._pod_ip), base=base, sources=sources, replaced=replaced
            )
        except VariableError as error:
            raise NotCreated("CreateContainerConfigError", str(error)) from error
        if podman is not None:
            return self._by_podman(podman, spec, env, base, sources)
        command = [expand(part, env) for part in (*entrypoint, *spec.args)]
        cwd = str(Path(services.config.working_dir, spec.working_dir or (image.working_dir if image else "")))
        user = self._user(spec)
        sandbox = self._sandbox(spec, env, sources, user, cwd) if is_sandboxed else None
        limits = _limits(spec)
        return Launch(command=command, env=env, cwd=cwd, user=user, sandbox=sandbox, limits=limits)

    async def refresh(self, specs: Iterable[Container], kind: str, name: str) -> None:
        """Write anew the volumes of containers that run and mount ConfigMap or Secret `name`.

        Raises `ApiError`, `ApiUnreachable`, `VolumeError` and `OSError`; what is mounted then stays as it was.
        """
        for spec in specs:
            mounted = {str(mount.get("name")) for mount in spec.volume_mounts}
            for volume in [self._volumes[each] for each in mounted if each in self._volumes]:
                if any((found.kind, found.name) == (kind, name) for found in volume_references(volume)):
                    sources = await self.fetch(spec)
                    self._write(volume, self._folder / "volumes" / str(volume.get("name")), sources)

    def start(self, launch: Launch) -> Started:
        """Start it. Raises `StartError`."""
        services, cgroups = self._services, self._services.cgroups
        if launch.limits == UNLIMITED:
            return self._start(launch, None)
        if cgroups is None:
            text = f"resources.limits count for nothing: {services.no_limits}"
            services.events.report(self._pod, "Warning", "LimitsNotEnforced", text)
            return self._start(launch, None)
        try:
            cgroup = cgroups.create(launch.limits)
        except OSError as error:
            raise StartError(f"limits: {error}") from error
        try:
            started = self._start(launch, cgroup)
        except StartError:
            cgroup.remove()
            raise
        return started._replace(cgroup=cgroup)

    def _start(self, launch: Launch, cgroup: Cgroup | None) -> Started:
        services = self._services
        told = launch.sandbox.told() if launch.sandbox is not None else None
        if services.warm is not None and launch.user is None:
            warm = services.warm.take(launch.command, launch.env, launch.cwd, told, cgroup)
            if warm is not None:
                return warm
        if launch.sandbox is not None:
            assert services.sandboxes is not None
            return services.sandboxes.launch(launch.sandbox, launch.command, launch.env, cgroup)
        return spawn(launch.command, env=launch.env, cwd=launch.cwd, user=launch.user, cgroup=cgroup)

    def remove(self) -> None:
        """Delete the pod's folder; its containers have ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # Details.

    def _user(self, spec: Container) -> User | None:
        user = container_user(self._pod, spec)
        if user is None:
            return None
        contexts = (spec.security_context or {}, self._pod.spec.security_context or {})
        refuses_root = next((c["runAsNonRoot"] for c in contexts if "runAsNonRoot" in c), False)
        if user.uid == 0 and refuses_root and any("runAsUser" in c for c in contexts):
            raise NotCreated(
                "CreateContainerConfigError", "container's runAsUser breaks non-root policy: it is 0 with runAsNonRoot"
            )
        if os.geteuid() != 0:
            if user.uid in (0, os.geteuid()):
                return None  # as ourselves
            text = f"runAsUser {user.uid}: the stack runs as user {os.geteuid()}; start it as root"
            raise NotCreated("CreateContainerConfigError", text)
        return user

    def _sandbox(
        self, spec: Container, env: Mapping[str, str], sources: SourceMap, user: User | None, cwd: str
    ) -> SandboxPlan:
        if self._services.sandboxes is None:
            raise NotCreated(
                "CreateContainerConfigError",
                f"volumes need a mount namespace, and only root may make one (mount at "
                f"{spec.volume_mounts[0].get('mountPath')}); start the stack as root, or pass the data by env or "
                f"envFrom",
            )
        return SandboxPlan(
            hostname=(self._pod.spec.hostname or self._pod.name)[:63],
            binds=tuple(self._binds(spec, env, sources)),
            hidden=(str(self._services.config.state_dir.absolute()),),
            network=self._network,
            user=user,
            cwd=cwd,
        )

    def _by_podman(
        self, podman: Podman, spec: Container, env: dict[str, str], base: Mapping[str, str], sources: SourceMap
    ) -> Launch:
        command = podman.run(
            spec.image,
            [expand(part, env) for part in spec.args],
            # The image has its own PATH and HOME.
            variables=[name for name, value in env.items() if base.get(name) != value],
            binds=self._binds(spec, env, sources),
            network=self._network,
            user=container_user(self._pod, spec),
            working_dir=spec.working_dir,
            limits=_limits(spec),
        )
        return Launch(command=command, env=env, cwd=str(self._services.config.working_dir), podman=podman)

    def _binds(self, spec: Container, env: Mapping[str, str], sources: SourceMap) -> list[Bind]:
        """Everything that is mounted in a container, written and ready. Raises `NotCreated`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            parts = self._folder / "parts" / spec.name
            mounts = enumerate(spec.volume_mounts)
            binds = [self._mount(mount, env, sources, parts / str(index)) for index, mount in mounts]
            return binds + self._account(spec) + self._resolver()
        except VolumeError as error:
            raise NotCreated("CreateContainerConfigError", str(error)) from error
        except OSError as error:
            raise NotCreated("CreateContainerError", f"volumes: {error}") from error

    def _mount(self, mount: Mapping[str, Any], env: Mapping[str, str], sources: SourceMap, part: Path) -> Bind:
        """`part`: where a part of a volume may be copied to."""
        name, target = str(mount.get("name")), str(mount.get("mountPath"))
        volume = self._volumes.get(name)
        if volume is None:
            raise VolumeError(f'volumeMounts: there is no volume "{name}"')
        if not target.startswith("/") or ".." in PurePosixPath(target).parts or target == "/":
            raise VolumeError(f"mountPath {target!r}: expected an absolute path without '..'")
        sub_path = str(mount.get("subPath") or expand(str(mount.get("subPathExpr") or ""), env))
        if sub_path.startswith("/") or ".." in PurePosixPath(sub_path).parts:
            raise VolumeError(f"subPath {sub_path!r}: expected a relative path without '..'")
        read_only = bool(mount.get("readOnly"))
        if "hostPath" in volume:
            return Bind(host_path(volume["hostPath"]), target, read_only, sub_path)
        folder = self._folder / "volumes" / name
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if kind == "emptyDir":
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            return Bind(str(folder), target, read_only, sub_path)
        self._write(volume, folder, sources)
        if not sub_path:
            return Bind(str(folder), target)
        if not copy_part(folder, sub_path, part):  # it stays as it is, also when the volume changes
            raise VolumeError(f'subPath {sub_path!r}: volume "{name}" has no such file')
        return Bind(str(part), target)

    def _write(self, volume: Mapping[str, Any], folder: Path, sources: SourceMap) -> bool:
        """Write a volume's files; whether they changed. Raises `VolumeError` and `OSError`."""
        facts = self._services.facts(self._pod_ip)
        token = self._token() if "projected" in volume else None
        files = volume_files(volume, self._pod, facts, sources, token, secret_mode=self._secret_mode)
        return write(folder, files, owner=self._owner)

    def _token(self) -> TokenSource | None:
        api = self._services.api
        return api.credentials(self._pod.namespace, self._pod.spec.service_account_name or "default") if api else None

    def _account(self, spec: Container) -> list[Bind]:
        """The pod's credentials where programs in a cluster look for them."""
        token = self._token()
        is_taken = any(mount.get("mountPath") == _ACCOUNT_PATH for mount in spec.volume_mounts)
        if token is None or is_taken or self._pod.spec.automount_service_account_token is False:
            return []
        folder = self._folder / "volumes" / "kube-api-access"
        files = [
            VolumeFile("token", token.token.encode(), self._secret_mode),
            VolumeFile("ca.crt", token.ca_pem, 0o644),
            VolumeFile("namespace", self._pod.namespace.encode(), 0o644),
        ]
        write(folder, files, owner=self._owner)
        return [Bind(str(folder), _ACCOUNT_PATH)]

    def _resolver(self) -> list[Bind]:
        """Name resolution as in a cluster, in a pod that has a network of its own."""
        if not self._network:
            return []
        server = self._services.facts(self._pod_ip).host_ip
        namespace, domain = self._pod.namespace, self._services.config.cluster_domain
        search = f"{namespace}.svc.{domain} svc.{domain} {domain}"
        hostname = self._pod.spec.hostname or self._pod.name
        files = {
            "resolv.conf": f"nameserver {server}\nsearch {search}\noptions ndots:5\n",
            "hosts": f"127.0.0.1 localhost\n::1 localhost\n{self._pod_ip} {hostname}\n",
            "hostname": f"{hostname}\n",
        }
        folder = self._folder / "etc"
        write(folder, [VolumeFile(name, text.encode(), 0o644) for name, text in files.items()], owner=None)
        return [Bind(str(folder / name), f"/etc/{name}") for name in files]


def _limits(spec: Container) -> Limits:
    try:
        return Limits.of(spec.resources)
    except ValueError as error:
        raise NotCreated("CreateContainerConfigError", f"resources.limits: {error}") from error


def _owner(pod: Pod) -> tuple[tuple[int, int] | None, int]:
    """(uid and gid, or None for ourselves; mode) of the files of Secrets.

    0600 where all containers run as one user; else everybody in the pod may read them. On the machine nobody reaches
    them either way: their folder's mode is 0700.
    """
    users = {container_user(pod, container) for container in (*pod.spec.containers, *pod.spec.init_containers)}
    if len(users) != 1:
        return None, 0o644
    user = users.pop()
    return (user.uid, user.gid) if user is not None and os.geteuid() == 0 else None, SECRET_MODE
