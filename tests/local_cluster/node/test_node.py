"""`local_cluster/node`: pods of a real API server become real processes."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.errors import Invalid
from kube.models.core import ConfigMap, Event, Node, Pod, Secret
from local_cluster.apiserver.errors import StatusError
from local_cluster.node.network import PortPool
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually, is_running

SLEEP = {"command": ["sleep", "600"]}
SERVER = """
import http.server, json, os, sys
address = os.environ.get("BIND", "127.0.0.1"), int(os.environ["PORT"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("GET", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
print("listening", flush=True)
http.server.HTTPServer(address, Handler).serve_forever()
"""


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path, workloads=False) as cluster:
        yield cluster


def running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


async def test_a_pod_becomes_a_process_with_an_address_of_its_own(cluster: Cluster) -> None:
    await cluster.create_pod("a", SLEEP)
    await cluster.create_pod("b", SLEEP)
    pods = [await cluster.until(Pod, name, Pod.is_ready) for name in ("a", "b")]
    addresses = {pod.status.pod_ip for pod in pods}
    assert len(addresses) == 2
    assert all(address.startswith("127.") for address in addresses)
    node = await cluster.client.get(Node, "local")
    assert node.status["conditions"][0]["type"] == "Ready"
    assert pods[0].status.host_ip == node.status["addresses"][0]["address"]
    started = cluster.events("container_started")
    assert [line["pod"] for line in started] == ["a", "b"]
    assert all(0 <= line["spawned"] - line["pod_seen"] < 1 for line in started)
    assert all(is_running(line["pid"]) for line in started)
    assert [line["pod"] for line in cluster.events("pod_ready")] == ["a", "b"]


async def test_the_environment_is_expanded_from_every_source(cluster: Cluster) -> None:
    await cluster.create(ConfigMap, "m", data={"colour": "red", "size": "9"})
    await cluster.create(Secret, "s", data={"word": base64.b64encode(b"sesame").decode()})
    script = "import os, json; print(json.dumps(dict(os.environ))); print('$(GREETING)', '$$(X)', '$(NONE)')"
    await cluster.create(
        Pod,
        "p",
        metadata={"labels": {"app": "web"}},
        spec={
            "nodeName": "local",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "c",
                    "image": "x",
                    "command": python(script),
                    "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "M_"}],
                    "env": [
                        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
                        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                        {"name": "GREETING", "value": "hello $(POD) at $(IP)"},
                    ],
                    "resources": {"limits": {"cpu": "250m"}},
                }
            ],
        },
    )
    pod = await cluster.until(Pod, "p", lambda pod: pod.status.phase == "Succeeded")
    variables, arguments = (await cluster.logs("p")).splitlines()
    env = json.loads(variables)
    ip = pod.status.pod_ip
    assert {key: env[key] for key in ("POD", "IP", "APP", "WORD", "CPU", "M_colour", "M_size", "HOSTNAME")} == {
        "POD": "p",
        "IP": ip,
        "APP": "web",
        "WORD": "sesame",
        "CPU": "250",
        "M_colour": "red",
        "M_size": "9",
        "HOSTNAME": "p",
    }
    assert env["GREETING"] == f"hello p at {ip}"
    assert env["KNUV_BIND_ADDRESS"] == ip
    assert "HOME" not in env
    assert arguments == f"hello p at {ip} $(X) $(NONE)"


async def test_a_missing_config_map_holds_the_container_until_it_is_there(cluster: Cluster) -> None:
    ref = {"configMapKeyRef": {"name": "late", "key": "k"}}
    await cluster.create_pod("p", {**SLEEP, "env": [{"name": "X", "valueFrom": ref}]})
    pod = await cluster.until(Pod, "p", lambda pod: _waiting(pod) == "CreateContainerConfigError")
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.message == 'configmap "late" not found'
    await cluster.create(ConfigMap, "late", data={"k": "v"})
    await cluster.until(Pod, "p", running)


async def test_a_command_that_does_not_exist_shows_the_reason_and_backs_off(cluster: Cluster) -> None:
    await cluster.create_pod("p", {"command": ["no-such-program"]})
    pod = await cluster.until(Pod, "p", lambda pod: _waiting(pod) == "CrashLoopBackOff")
    ended = pod.status.container_statuses[0].last_state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (128, "StartError")
    assert ended.message == 'exec: "no-such-program": executable file not found in $PATH'
    assert pod.status.container_statuses[0].restart_count == 1


async def test_an_image_without_a_command_says_what_to_do_and_the_image_map_helps(cluster: Cluster) -> None:
    await cluster.create_pod(
        "p", {"image": "ghcr.io/x/app:v1", "args": ["$(POD_WORD)"], "env": [{"name": "POD_WORD", "value": "hi"}]}
    )
    pod = await cluster.until(Pod, "p", lambda pod: _waiting(pod) == "ErrImagePull")
    assert pod.status.phase == "Pending"
    assert "ghcr.io/x/app:v1" in pod.status.container_statuses[0].state.waiting.message  # type: ignore[union-attr]
    file = cluster.state_dir / "images.yaml"
    assert str(file) in pod.status.container_statuses[0].state.waiting.message  # type: ignore[union-attr]
    file.write_text("- {image: 'ghcr.io/*/app', command: [sh, -c, 'echo $0 from the map; sleep 600']}")
    await cluster.until(Pod, "p", running)
    await eventually(lambda: _logged(cluster, "p", "hi from the map"))


async def test_volume_mounts_need_root_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_cluster.node.app.may_isolate", lambda: False)
    mount = {**SLEEP, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    async with running_cluster(tmp_path, workloads=False) as cluster:
        await cluster.create_pod("p", mount, volumes=[{"name": "data", "emptyDir": {}}])
        pod = await cluster.until(Pod, "p", lambda pod: _waiting(pod) == "CreateContainerConfigError")
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert "only root may make one (mount at /data); start the stack as root" in waiting.message


async def test_a_crash_is_restarted_with_its_last_words_in_the_status(cluster: Cluster) -> None:
    await cluster.create_pod(
        "p",
        {
            "command": ["sh", "-c", "echo starting; echo boom >&2; exit 3"],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        },
    )
    pod = await cluster.until(
        Pod, "p", lambda pod: _restarts(pod) == 1 and pod.status.container_statuses[0].state.waiting
    )
    status = pod.status.container_statuses[0]
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert status.last_state.terminated is not None
    assert (status.last_state.terminated.exit_code, status.last_state.terminated.message) == (3, "starting\nboom\n")
    assert await cluster.logs("p") == await cluster.logs("p", previous=True) == "starting\nboom\n"
    assert [line["container"] for line in cluster.events("container_ended")] == ["c", "c"]


async def test_readiness_follows_the_probe_and_a_rewritten_port(cluster: Cluster) -> None:
    probe = {"tcpSocket": {"port": 8080, "host": "127.0.0.1"}, "successThreshold": 1}
    await cluster.create_pod(
        "p",
        {
            "name": "user-container",
            "command": python(SERVER),
            "ports": [{"name": "user-port", "containerPort": 8080}],
            "env": [{"name": "PORT", "value": "8080"}],
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/ready"}},
        },
        {
            "name": "queue-proxy",
            "command": ["sh", "-c", "echo $USER_PORT $KNUV_BIND_ADDRESS $SERVING_READINESS_PROBE; sleep 600"],
            "env": [
                {"name": "USER_PORT", "value": "8080"},
                {"name": "SERVING_READINESS_PROBE", "value": json.dumps(probe)},
            ],
        },
    )
    pod = await cluster.until(Pod, "p", Pod.is_ready)
    assert "GET /ready" in await cluster.logs("p", "user-container")
    port, address, readiness = (await cluster.logs("p", "queue-proxy")).split()
    assert 20000 <= int(port) <= 32000
    assert address == pod.status.pod_ip
    assert json.loads(readiness) == {**probe, "tcpSocket": {"port": int(port), "host": "127.0.0.1"}}


async def test_a_pod_that_listens_on_its_address_is_probed_there(cluster: Cluster) -> None:
    await cluster.create_pod(
        "p",
        {
            "command": python(SERVER),
            "env": [
                {"name": "PORT", "value": "18080"},
                {"name": "BIND", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "ports": [{"name": "web", "containerPort": 18080}],
            "readinessProbe": {"httpGet": {"port": "web"}},
        },
    )
    await cluster.until(Pod, "p", Pod.is_ready)


async def test_liveness_restarts_a_container_that_hangs(cluster: Cluster) -> None:
    alive = {"exec": {"command": ["test", "-e", "alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    (cluster.state_dir / "alive").touch()
    await cluster.create_pod("p", {**SLEEP, "livenessProbe": alive}, terminationGracePeriodSeconds=1)
    await cluster.until(Pod, "p", running)
    (cluster.state_dir / "alive").unlink()
    pod = await cluster.until(Pod, "p", lambda pod: _restarts(pod) >= 1)
    ended = pod.status.container_statuses[0].last_state.terminated
    assert ended is not None
    assert ended.signal == 15


async def test_deletion_runs_the_hook_first_and_signals_containers_without_one_at_once(cluster: Cluster) -> None:
    """The order that queue-proxy's drain relies on: its SIGTERM comes while the user container's hook waits."""
    tell = "trap 'echo {0} TERM >> order; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    hook = {
        "exec": {
            "command": ["sh", "-c", "while ! grep -q queue-proxy order; do sleep 0.01; done; echo hook done >> order"]
        }
    }
    await cluster.create_pod(
        "p",
        {"name": "user", "command": ["sh", "-c", tell.format("user")], "lifecycle": {"preStop": hook}},
        {"name": "queue-proxy", "command": ["sh", "-c", tell.format("queue-proxy")]},
    )
    for name in ("user", "queue-proxy"):
        await eventually(lambda name=name: _logged(cluster, "p", "up", name))
    await cluster.client.delete(Pod, "p", "default")
    pod = await cluster.get(Pod, "p")
    assert pod.metadata.deletion_timestamp is not None
    await cluster.until_gone(Pod, "p")
    assert (cluster.state_dir / "order").read_text().splitlines() == ["queue-proxy TERM", "hook done", "user TERM"]


async def test_a_hook_that_finds_nobody_is_an_event_and_no_delay(cluster: Cluster) -> None:
    hook = {"httpGet": {"port": 8022, "path": "/wait-for-drain"}}
    await cluster.create_pod("p", {**SLEEP, "lifecycle": {"preStop": hook}}, terminationGracePeriodSeconds=30)
    await cluster.until(Pod, "p", running)
    await cluster.client.delete(Pod, "p", "default")
    await cluster.until_gone(Pod, "p", timeout_s=15)

    async def reported() -> list[Event]:
        events = (await cluster.client.list(Event, "default")).items
        return [event for event in events if event.reason == "FailedPreStopHook"]

    (event,) = await eventually(reported)
    assert "connection refused" in event.message
    assert event.involved_object.name == "p"


async def test_a_terminating_pod_is_unready_at_once_and_killed_after_its_grace_period(cluster: Cluster) -> None:
    stubborn = ["sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.01; done"]
    await cluster.create_pod("p", {"command": stubborn}, terminationGracePeriodSeconds=1)
    await cluster.until(Pod, "p", Pod.is_ready)
    await eventually(lambda: _logged(cluster, "p", "up"))
    await cluster.client.delete(Pod, "p", "default")
    await cluster.until(
        Pod, "p", lambda pod: any(c.type == "Ready" and c.status == "False" for c in pod.status.conditions)
    )
    assert running(await cluster.get(Pod, "p"))
    await cluster.until_gone(Pod, "p")
    assert cluster.events("container_ended")[-1]["signal"] == 9


async def test_a_forced_deletion_ends_the_processes_at_once(cluster: Cluster) -> None:
    await cluster.create_pod("p", {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"]})
    await cluster.until(Pod, "p", running)
    pid = cluster.events("container_started")[0]["pid"]
    await cluster.client.delete(Pod, "p", "default", grace_period_s=0)
    await eventually(lambda: not is_running(pid))


async def test_init_containers_run_before_the_others(cluster: Cluster) -> None:
    await cluster.create_pod(
        "p",
        {"command": ["sh", "-c", "cat prepared; sleep 600"]},
        initContainers=[{"name": "i", "image": "x", "command": ["sh", "-c", "echo ready > prepared"]}],
    )
    await cluster.until(Pod, "p", Pod.is_ready)
    await eventually(lambda: _logged(cluster, "p", "ready"))


async def test_logs_are_refused_with_a_reason(cluster: Cluster) -> None:
    await cluster.create_pod("p", {"image": "unknown"})
    await cluster.until(Pod, "p", lambda pod: pod.status.phase)
    for pod, container, problem in (
        ("p", "c", 'container "c" in pod "p" is waiting to start: ErrImagePull'),
        ("p", "x", "container x is not valid for pod p"),
        ("q", "c", 'pod "q" does not run on node local'),
    ):
        with pytest.raises(StatusError) as caught:
            await cluster.logs(pod, container)
        assert (caught.value.code, caught.value.message) == (400, problem)


async def test_the_api_answers_for_logs(cluster: Cluster) -> None:
    assert cluster.node is not None
    cluster.api.server.set_log_reader(cluster.node.read_logs)
    await cluster.create_pod("p", {"command": ["sh", "-c", "echo one; echo two; exec sleep 600"]})
    await cluster.create_pod("q", {"image": "unknown"})
    await eventually(lambda: _logged(cluster, "p", "two"))
    path = Pod.RESOURCE.path("default", "p", "log")
    assert await cluster.client.raw("GET", path) == b"one\ntwo\n"
    assert await cluster.client.raw("GET", path, params={"tailLines": "1"}) == b"two\n"
    await cluster.until(Pod, "q", lambda pod: _waiting(pod) == "ErrImagePull")
    with pytest.raises(Invalid, match='container "c" in pod "q" is waiting to start: ErrImagePull'):
        await cluster.client.raw("GET", Pod.RESOURCE.path("default", "q", "log"))


async def test_the_log_of_the_incarnation_before_is_kept(cluster: Cluster) -> None:
    assert cluster.node is not None
    cluster.api.server.set_log_reader(cluster.node.read_logs)
    script = "test -e been && { echo second; exec sleep 600; }; touch been; echo first; exit 1"
    await cluster.create_pod("p", {"command": ["sh", "-c", script]})
    await eventually(lambda: _logged(cluster, "p", "second"))
    path = Pod.RESOURCE.path("default", "p", "log")
    assert await cluster.client.raw("GET", path, params={"previous": "true"}) == b"first\n"
    assert await cluster.client.raw("GET", path) == b"second\n"
    await cluster.create_pod("q", SLEEP)
    await cluster.until(Pod, "q", Pod.is_ready)
    with pytest.raises(Invalid, match='previous terminated container "c" in pod "q" not found'):
        await cluster.client.raw("GET", Pod.RESOURCE.path("default", "q", "log"), params={"previous": "true"})


async def test_stopping_the_node_ends_every_process(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, workloads=False) as cluster:
        spawner = ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait"]
        await cluster.create_pod("p", {"command": spawner}, {"name": "d", **SLEEP})
        await cluster.until(Pod, "p", running)
        child = int(await eventually(lambda: _logged(cluster, "p", "")))
        pids = [line["pid"] for line in cluster.events("container_started")] + [child]
        assert cluster.node is not None
        await cluster.node.stop()
        await eventually(lambda: not any(is_running(pid) for pid in pids))
        assert not list((tmp_path / "logs" / "pods").iterdir())


async def test_a_pod_too_many_waits_for_an_address(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, workloads=False, pods_max=1) as cluster:
        await cluster.create_pod("one", SLEEP, terminationGracePeriodSeconds=1)
        await cluster.until(Pod, "one", running)
        await cluster.create_pod("two", SLEEP)

        async def reported() -> list[str]:
            events = (await cluster.client.list(Event, "default")).items
            return [event.message for event in events if event.involved_object.name == "two"]

        assert await eventually(reported) == ["all 1 pod addresses are in use"]
        assert not (await cluster.get(Pod, "two")).status.pod_ip
        await cluster.create_pod("three", SLEEP)
        await cluster.client.delete(Pod, "three", "default")
        await cluster.until_gone(Pod, "three")
        await cluster.client.delete(Pod, "one", "default")
        await cluster.until(Pod, "two", running)


async def test_a_free_port_is_given_back_with_its_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = PortPool().take()
    monkeypatch.setattr("local_cluster.node.network._PORT_FIRST", port)
    monkeypatch.setattr("local_cluster.node.network._PORT_LAST", port + 1)
    containers = ({"name": "user-container", **SLEEP}, {"name": "queue-proxy", **SLEEP})
    async with running_cluster(tmp_path, workloads=False) as cluster:
        for name in ("one", "two", "three"):
            await cluster.create_pod(name, *containers, terminationGracePeriodSeconds=1)
        await cluster.until(Pod, "two", running)

        async def reported() -> list[str]:
            events = (await cluster.client.list(Event, "default")).items
            return [event.message for event in events if event.involved_object.name == "three"]

        assert "no free port" in (await eventually(reported))[0]
        await cluster.client.delete(Pod, "one", "default")
        await cluster.until(Pod, "three", running)


async def test_only_the_last_two_incarnations_keep_their_logs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_cluster.node.restart_backoff._FIRST_S", 0.01)
    await cluster.create_pod("p", {"command": ["sh", "-c", "echo again; exit 1"]})
    pod = await cluster.until(Pod, "p", lambda pod: _restarts(pod) >= 4)
    folder = cluster.state_dir / "logs" / "pods" / f"default_p_{pod.metadata.uid}" / "c"
    assert 1 <= len(_files(folder)) <= 2
    assert await cluster.logs("p", previous=True) == "again\n"


async def test_a_hook_ends_with_its_container(cluster: Cluster) -> None:
    hook = {"exec": {"command": ["sh", "-c", "echo $$ >> hooks; exec sleep 600"]}}
    dead = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    container = {**SLEEP, "lifecycle": {"preStop": hook}, "livenessProbe": dead}
    await cluster.create_pod("p", container, terminationGracePeriodSeconds=1)
    await cluster.until(Pod, "p", lambda pod: _restarts(pod) >= 1)
    first = int((cluster.state_dir / "hooks").read_text().split()[0])
    await eventually(lambda: not is_running(first))


async def test_pods_that_ended_before_the_node_started_are_left_alone_until_deleted(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, node=False, workloads=False) as cluster:
        await cluster.create_pod("done", SLEEP)
        await cluster.client.patch_status(await cluster.get(Pod, "done"), {"phase": "Succeeded"})
        await cluster.start_node()
        await cluster.create_pod("new", SLEEP)
        await cluster.until(Pod, "new", running)
        assert [line["pod"] for line in cluster.events("container_started")] == ["new"]
        await cluster.client.delete(Pod, "done", "default")
        await cluster.until_gone(Pod, "done")


async def test_many_pods_start_and_end_without_a_trace(cluster: Cluster) -> None:
    before = _descriptors()
    names = [f"p{index}" for index in range(20)]
    await asyncio.gather(*(cluster.create_pod(name, SLEEP, terminationGracePeriodSeconds=1) for name in names))
    for name in names:
        await cluster.until(Pod, name, Pod.is_ready)
    pids = [line["pid"] for line in cluster.events("container_started")]
    assert len(set(pids)) == 20
    await asyncio.gather(*(cluster.client.delete(Pod, name, "default") for name in names))
    for name in names:
        await cluster.until_gone(Pod, name)
    assert not any(is_running(pid) for pid in pids)
    assert not _zombies()
    # Connections to the API may be kept; pidfds (but the reaper's), pipes and logs may not.
    # A look at /proc for daemons may still be under way.
    await eventually(lambda: all(link.startswith("socket:") or fd in before for fd, link in _descriptors().items()))


async def _logged(cluster: Cluster, pod: str, text: str, container: str = "c") -> str:
    try:
        log = await cluster.logs(pod, container)
    except StatusError:
        return ""
    return log if text in log else ""


def _restarts(pod: Pod) -> int:
    return pod.status.container_statuses[0].restart_count if pod.status.container_statuses else 0


def _waiting(pod: Pod) -> str:
    """Why the first container waits, or nothing."""
    waiting = pod.status.container_statuses[0].state.waiting if pod.status.container_statuses else None
    return waiting.reason if waiting is not None else ""


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _descriptors() -> dict[str, str]:
    """Our open descriptors and what they lead to; that of the listing itself is closed when it is looked at."""
    links = {fd: Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    return {fd: os.readlink(link) for fd, link in links.items() if link.is_symlink()}


def _zombies() -> list[Path]:
    stats = [Path(f"/proc/{pid}/stat") for pid in os.listdir("/proc") if pid.isdigit()]
    ours = str(os.getpid())
    found = []
    for stat in stats:
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and parent == ours:
            found.append(stat)
    return found


async def test_a_daemon_that_left_its_group_ends_with_its_pod(cluster: Cluster) -> None:
    script = "setsid sh -c 'echo $$$$; exec sleep 600' & exec sleep 600"
    await cluster.create_pod("p", {"command": ["sh", "-c", script]}, terminationGracePeriodSeconds=0)
    await cluster.create_pod("q", {"command": ["sh", "-c", script]})
    daemons = [int(await eventually(lambda name=name: _said(cluster, name))) for name in ("p", "q")]
    await cluster.client.delete(Pod, "p", "default")
    await eventually(lambda: not is_running(daemons[0]))
    assert is_running(daemons[1])


async def test_a_container_name_cannot_lead_out_of_its_folder(cluster: Cluster) -> None:
    await cluster.create_pod("p", {**SLEEP, "name": "../../../../evil"})
    pod = await cluster.until(Pod, "p", lambda pod: _waiting(pod) == "CreateContainerError")
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.message == "container name '../../../../evil': expected a DNS label"
    assert not list(cluster.state_dir.rglob("evil"))


async def test_a_pod_that_had_ended_before_the_node_started_can_be_deleted(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, workloads=False, node=False) as cluster:
        await cluster.create_pod("p", SLEEP)
        await cluster.client.patch(Pod, "p", "default", {"status": {"phase": "Failed"}}, subresource="status")
        await cluster.start_node()
        await cluster.client.delete(Pod, "p", "default")
        await cluster.until_gone(Pod, "p")
        assert cluster.events("container_started") == []


async def _said(cluster: Cluster, name: str) -> str:
    try:
        return await cluster.logs(name)
    except StatusError:
        return ""
