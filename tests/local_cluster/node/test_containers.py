"""What a container sees of its volumes, user and root, told by a program inside it."""

import base64
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.models.core import ConfigMap, Pod, Secret
from local_cluster.node.launch import ApiAccess
from local_cluster.node.volumes import TokenSource
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces and other users need root")
LOOK = """
import json, os, socket, sys
def look(path):
    if os.path.isdir(path):
        return {name: look(path + "/" + name) for name in sorted(os.listdir(path)) if name[:2] != ".."}
    with open(path) as file:
        return [file.read(), oct(os.stat(path).st_mode & 0o7777), os.stat(path).st_uid]
seen = {path: look(path) for path in sys.argv[1:]}
print(json.dumps({"seen": seen, "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cwd": os.getcwd(),
                  "host": socket.gethostname()}))
"""


BLOCKING = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("/knuv-e/up", "w").close()
while signal.SIGTERM not in signal.sigpending():
    time.sleep(0.001)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
time.sleep(600)
"""


def look(*paths: str, **container: Any) -> dict[str, Any]:
    """A container that tells what is at `paths`."""
    return {"command": [sys.executable, "-I", "-S", "-c", LOOK, *paths], **container}


def shell(script: str, **container: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script.replace("$", "$$")], **container}


def mount(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


def exists(path: str) -> bool:
    return os.path.lexists(path)


def command_lines() -> Iterator[bytes]:
    """Of all processes of the machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes()
            except OSError:
                continue


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    access = ApiAccess("127.0.0.1", 6443, lambda namespace, account: TokenSource(f"{namespace}/{account}", b"CA"))
    async with running_cluster(tmp_path, workloads=False, working_dir=Path("/"), api=access) as cluster:
        yield cluster


async def ended(cluster: Cluster, name: str, container: str = "c") -> str:
    """What a pod's container printed, once the pod has succeeded."""
    pod = await cluster.until(Pod, name, lambda pod: pod.status.phase in ("Succeeded", "Failed"), timeout_s=30)
    text = await cluster.logs(name, container)
    assert pod.status.phase == "Succeeded", text
    return text


async def told(cluster: Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await ended(cluster, name))
    return found


@ROOT
async def test_every_kind_of_volume_is_at_the_asked_path(cluster: Cluster) -> None:
    binary = {"bin": base64.b64encode(b"raw").decode()}
    await cluster.create(ConfigMap, "m", data={"colour": "red", "size": "9"}, binaryData=binary)
    await cluster.create(Secret, "s", data={"word": base64.b64encode(b"sesame").decode()})
    volumes = [
        {"name": "m", "configMap": {"name": "m"}},
        {"name": "one", "configMap": {"name": "m", "items": [{"key": "size", "path": "a/b", "mode": 0o400}]}},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "e", "emptyDir": {}},
        {
            "name": "d",
            "downwardAPI": {
                "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
                ]
            },
        },
        {
            "name": "p",
            "projected": {
                "defaultMode": 0o440,
                "sources": [
                    {"configMap": {"name": "m", "items": [{"key": "colour", "path": "colour"}]}},
                    {"secret": {"name": "s"}},
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "none", "optional": True}},
                ],
            },
        },
    ]
    mounts = [
        mount("m", "/etc/knuv-test/m"),
        mount("one", "/knuv-one"),
        mount("s", "/var/run/knuv-secret"),
        mount("e", "/knuv-empty"),
        mount("d", "/knuv-down"),
        mount("p", "/knuv-projected"),
        mount("m", "/etc/knuv-test/file", subPath="colour"),
    ]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    await cluster.create(
        Pod,
        "p",
        metadata={"labels": {"app": "web", "quote": "x"}},
        spec={
            "nodeName": "local",
            "restartPolicy": "Never",
            "volumes": volumes,
            "containers": [
                look(
                    *(m["mountPath"] for m in mounts),
                    account,
                    name="c",
                    image="x",
                    volumeMounts=mounts,
                    resources={"limits": {"cpu": "2"}},
                )
            ],
        },
    )
    seen = (await told(cluster, "p"))["seen"]
    assert seen["/etc/knuv-test/m"] == {
        "bin": ["raw", "0o644", 0],
        "colour": ["red", "0o644", 0],
        "size": ["9", "0o644", 0],
    }
    assert seen["/knuv-one"] == {"a": {"b": ["9", "0o400", 0]}}
    assert seen["/var/run/knuv-secret"] == {"word": ["sesame", "0o600", 0]}
    assert seen["/knuv-empty"] == {}
    assert {name: text for name, (text, _, _) in seen["/knuv-down"].items()} == {
        "labels": 'app="web"\nquote="x"',
        "name": "p",
        "cpu": "2",
    }
    assert seen["/knuv-projected"] == {
        "colour": ["red", "0o440", 0],
        "token": ["default/default", "0o440", 0],
        "word": ["sesame", "0o440", 0],
    }
    assert seen["/etc/knuv-test/file"][0] == "red"
    assert {name: text for name, (text, _, _) in seen[account].items()} == {
        "ca.crt": "CA",
        "namespace": "default",
        "token": "default/default",
    }
    assert not exists("/etc/knuv-test")
    assert not exists("/knuv-one")


@ROOT
async def test_mounted_config_maps_and_secrets_follow_at_once_and_as_a_whole(cluster: Cluster) -> None:
    await cluster.create(ConfigMap, "m", data={"a": "1", "b": "1", "gone": "x"})
    await cluster.create(Secret, "s", data={"word": base64.b64encode(b"old").decode()})
    # Both files of one moment, again and again: a reader through one link never meets a mixture. What it leads to may
    # be on its way out, file by file. The names beside that link come and go a little later than it turns.
    script = """
cd /knuv-m; while test $(cat /knuv-s/word) != new; do
  d=$(readlink ..data); test "$(cat $d/a 2>&1)" = "$(cat $d/b 2>&1)" || test ! -e $d/a || test ! -e $d/b || echo mixture
done
until test $(cat a) = 300 && test -e extra && test ! -L gone; do sleep 0.01; done
ls; cat a b extra; echo $PART; cat /knuv-part
"""
    container = shell(
        script,
        env=[{"name": "PART", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "a"}}}],
        volumeMounts=[mount("m", "/knuv-m"), mount("s", "/knuv-s"), mount("m", "/knuv-part", subPath="a")],
    )
    volumes = [{"name": "m", "configMap": {"name": "m"}}, {"name": "s", "secret": {"secretName": "s"}}]
    await cluster.create_pod("p", container, volumes=volumes, restartPolicy="Never")
    await cluster.until(Pod, "p", Pod.is_ready)
    for number in range(2, 12):
        await cluster.client.patch(ConfigMap, "m", "default", {"data": {"a": f"{number}", "b": f"{number}"}})
    word = base64.b64encode(b"new").decode()
    await cluster.client.patch(Secret, "s", "default", {"data": {"word": word}})
    final = {"data": {"a": "300", "b": "300", "extra": "3", "gone": None}}
    await cluster.client.patch(ConfigMap, "m", "default", final)
    assert await ended(cluster, "p") == "a\nb\nextra\n30030031\n1\n"


@ROOT
async def test_secrets_lie_in_files_of_mode_0600_in_a_folder_of_mode_0700_and_go_with_the_pod(cluster: Cluster) -> None:
    await cluster.create(Secret, "s", data={"word": base64.b64encode(b"sesame").decode()})
    container = shell("exec sleep 600", volumeMounts=[mount("s", "/knuv-s")], securityContext={"runAsUser": 1234})
    volumes = [{"name": "s", "secret": {"secretName": "s"}}]
    created = await cluster.create_pod("p", container, volumes=volumes, terminationGracePeriodSeconds=0)
    await cluster.until(Pod, "p", Pod.is_ready)
    folder = cluster.state_dir / "pods" / created["metadata"]["uid"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = (folder / "volumes" / "s" / "word").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 1234)
    await cluster.client.delete(Pod, "p", "default")
    await cluster.until_gone(Pod, "p")
    await eventually(lambda: not folder.exists())


@ROOT
async def test_user_group_working_folder_and_host_name(cluster: Cluster) -> None:
    context = {"runAsUser": 1234, "runAsGroup": 2345}
    for name, more in (("plain", {}), ("mounted", {"volumeMounts": [mount("e", "/knuv-e")]})):
        await cluster.create_pod(
            name,
            shell("id -u; id -g; id -G; pwd; hostname", securityContext=context, workingDir="/usr", **more),
            volumes=[{"name": "e", "emptyDir": {}}],
            securityContext={"supplementalGroups": [3456], "runAsUser": 1},
            restartPolicy="Never",
        )
        *seen, host = (await ended(cluster, name)).splitlines()
        assert seen == ["1234", "2345", "2345 3456", "/usr"]
    assert host == "mounted"
    refused = {"runAsUser": 0, "runAsNonRoot": True}
    await cluster.create_pod("r", look(securityContext=refused))
    pod = await cluster.until(Pod, "r", lambda pod: pod.status.container_statuses)
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"


@ROOT
async def test_what_a_container_writes_outside_its_volumes_stays_its_own(cluster: Cluster, tmp_path: Path) -> None:
    marker = f"knuv-{os.getpid()}"
    other = tmp_path / "shared"
    other.mkdir()
    script = f"""
        for folder in / /etc /tmp /usr/bin /root /var; do echo x > $folder/{marker} && cat $folder/{marker}; done
        rm /etc/passwd && test ! -e /etc/passwd && echo removed
        mount -t tmpfs none /mnt && echo mounted
        mknod /tmp/disk b 8 0 && echo device
        echo 1 > /proc/sys/kernel/domainname && echo kernel
        echo x > /sys/kernel/uevent_seqnum && echo sys
        ls {cluster.state_dir} | wc -l
        ls /proc/{os.getpid()}/root/ && echo escaped
        chroot / true && echo chroot
        true
    """
    await cluster.create_pod(
        "p", shell(script, volumeMounts=[mount("e", "/knuv-e")]), volumes=[{"name": "e"}], restartPolicy="Never"
    )
    lines = (await ended(cluster, "p")).splitlines()
    assert [line for line in lines if ":" not in line and "dmesg" not in line] == ["x"] * 6 + ["removed", "0"]
    assert not [p for p in ("/", "/etc", "/tmp", "/usr/bin", "/root", "/var") if exists(f"{p}/{marker}")]
    assert exists("/etc/passwd")


@ROOT
async def test_no_pod_looks_into_another(cluster: Cluster) -> None:
    spec: dict[str, Any] = {"volumes": [{"name": "e", "emptyDir": {}}], "restartPolicy": "Never"}
    mounts = [mount("e", "/knuv-e")]
    await cluster.create_pod("other", shell("echo secret > /knuv-e/word; exec sleep 600", volumeMounts=mounts), **spec)
    await cluster.until(Pod, "other", Pod.is_ready)
    pid = cluster.events("container_started")[0]["pid"]
    await eventually(lambda: exists(f"/proc/{pid}/root/knuv-e/word"))
    script = f"for path in root/knuv-e/word environ; do cat /proc/{pid}/$path; done; cat /knuv-e/own; true"
    first = {"name": "i", "image": "x", **shell("echo mine > /knuv-e/own; chown 7 /knuv-e/own", volumeMounts=mounts)}
    await cluster.create_pod("p", shell(script, volumeMounts=mounts), initContainers=[first], **spec)
    *refusals, mine = (await ended(cluster, "p")).splitlines()
    assert [line.rpartition(": ")[2] for line in refusals] == ["No such file or directory"] * 2
    assert mine == "mine"


@ROOT
async def test_a_container_numbers_its_processes_itself_and_nothing_of_it_outlives_it(cluster: Cluster) -> None:
    mounts = {"volumeMounts": [mount("e", "/knuv-e")]}
    script = (
        "echo $$$$; env -i setsid sleep 601 & sleep 0.05; ls /proc | grep -c '^[0-9]'; readlink /proc/1/exe; exit 0"
    )
    spec: dict[str, Any] = {"volumes": [{"name": "e", "emptyDir": {}}], "restartPolicy": "Never"}
    await cluster.create_pod("p", {"command": ["sh", "-c", script], **mounts}, **spec)
    own, count, program = (await ended(cluster, "p")).splitlines()
    assert own == "1"
    assert int(count) <= 5
    assert "sh" in program
    assert not any(b"sleep\x00601" in line for line in command_lines())


@ROOT
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "touch /knuv-e/up; exec sleep 600"], 143),
        ([sys.executable, "-I", "-S", "-c", BLOCKING], 143),
        (["sh", "-c", "trap 'exit 7' TERM; touch /knuv-e/up; while :; do sleep 0.01; done"], 7),
    ],
    ids=["unhandled", "blocked for a moment", "handled"],
)
async def test_the_first_process_ends_by_sigterm_whether_it_handles_it_or_not(
    cluster: Cluster, command: list[str], code: int
) -> None:
    container = {"command": command, "volumeMounts": [mount("e", "/knuv-e")]}
    made = await cluster.create_pod(
        "p", container, volumes=[{"name": "e", "emptyDir": {}}], terminationGracePeriodSeconds=600
    )
    volume = cluster.state_dir / "pods" / made["metadata"]["uid"] / "volumes" / "e"
    await eventually(lambda: (volume / "up").exists())
    await cluster.client.delete(Pod, "p", "default")
    await cluster.until_gone(Pod, "p")
    assert cluster.events("container_ended")[0]["exit_code"] == code


@ROOT
async def test_containers_share_volumes_and_init_containers_run_first(cluster: Cluster) -> None:
    shared = [mount("e", "/knuv-e")]
    await cluster.create_pod(
        "p",
        shell("cat /knuv-e/first; while ! test -e /knuv-e/b; do sleep 0.01; done; cat /knuv-e/b", volumeMounts=shared),
        shell("echo from b > /knuv-e/draft; mv /knuv-e/draft /knuv-e/b", name="b", volumeMounts=shared),
        initContainers=[
            {"name": "one", "image": "x", **shell("echo one > /knuv-e/first", volumeMounts=shared)},
            {"name": "two", "image": "x", **shell("echo two >> /knuv-e/first", volumeMounts=shared)},
        ],
        volumes=[{"name": "e", "emptyDir": {}}],
        restartPolicy="Never",
    )
    assert await ended(cluster, "p") == "one\ntwo\nfrom b\n"


@ROOT
async def test_exec_probes_and_hooks_run_inside_the_container_as_its_user(cluster: Cluster) -> None:
    check = "test -e /knuv-e/up && test -e /knuv-e/hook && test $(id -u) = 1234 && test $(hostname) = p"
    container = shell(
        "touch /knuv-e/up; exec sleep 600",
        volumeMounts=[mount("e", "/knuv-e")],
        readinessProbe={"exec": {"command": ["sh", "-c", check]}, "periodSeconds": 1},
        lifecycle={"postStart": {"exec": {"command": ["touch", "/knuv-e/hook"]}}},
        securityContext={"runAsUser": 1234},
    )
    created = await cluster.create_pod("p", container, volumes=[{"name": "e", "emptyDir": {}}])
    await cluster.until(Pod, "p", Pod.is_ready)
    assert (cluster.state_dir / "pods" / created["metadata"]["uid"] / "volumes" / "e" / "hook").stat().st_uid == 1234
    probe = {"exec": {"command": ["sh", "-c", "test $(id -u) = 1234"]}, "periodSeconds": 1}
    await cluster.create_pod(
        "plain", shell("exec sleep 600", readinessProbe=probe, securityContext={"runAsUser": 1234})
    )
    await cluster.until(Pod, "plain", Pod.is_ready)


@ROOT
async def test_a_sub_path_does_not_follow_a_link_that_the_pod_made(cluster: Cluster) -> None:
    volumes = [{"name": "e", "emptyDir": {}}]
    await cluster.create_pod(
        "p",
        shell("cat /knuv-e/*", volumeMounts=[mount("e", "/knuv-e", subPath="link")]),
        initContainers=[
            {"name": "one", "image": "x", **shell("ln -s /root /knuv-e/link", volumeMounts=[mount("e", "/knuv-e")])}
        ],
        volumes=volumes,
        restartPolicy="Never",
    )
    pod = await cluster.until(Pod, "p", lambda pod: pod.status.phase == "Failed")
    terminated = pod.status.container_statuses[0].state.terminated
    assert terminated is not None
    assert (terminated.reason, terminated.message) == ("StartError", "container: subPath link: link is a link")


@ROOT
@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'volume "v": configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'volume "v": secret "none" not found'),
        ({"configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}, "expected a relative path"),
        ({"configMap": {"name": "m", "items": [{"key": "no", "path": "x"}]}}, "references non-existent key: no"),
        ({"nfs": {"server": "x"}}, "nfs volumes are not supported"),
        ({"hostPath": {"path": "/no/such"}}, "hostPath /no/such: no such file or directory"),
    ],
)
async def test_a_volume_that_cannot_be_made_says_why(cluster: Cluster, volume: dict[str, Any], message: str) -> None:
    await cluster.create(ConfigMap, "m", data={"k": "v"})
    await cluster.create_pod(
        "p", shell("true", volumeMounts=[mount("v", "/knuv-v")]), volumes=[{"name": "v", **volume}]
    )
    pod = await cluster.until(Pod, "p", lambda pod: pod.status.container_statuses)
    pod = await cluster.until(
        Pod, "p", lambda pod: (w := pod.status.container_statuses[0].state.waiting) is not None and w.message
    )
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"
    assert message in waiting.message


@ROOT
async def test_a_program_that_is_not_there_is_a_start_error(cluster: Cluster) -> None:
    await cluster.create_pod(
        "p",
        {"command": ["no-such-program"], "volumeMounts": [mount("e", "/knuv-e")]},
        volumes=[{"name": "e", "emptyDir": {}}],
        restartPolicy="Never",
    )
    pod = await cluster.until(Pod, "p", lambda pod: pod.status.phase == "Failed")
    terminated = pod.status.container_statuses[0].state.terminated
    assert terminated is not None
    assert (terminated.exit_code, terminated.reason) == (128, "StartError")
    assert terminated.message == 'exec: "no-such-program": executable file not found in $PATH'
